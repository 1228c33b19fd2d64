"""Reads Markdown files with metadata in front and prints, for each, what a reader of Markdown takes for structure, what it
takes for words, and the metadata, as JSON: markdown.py FILE…"""
import json
import sys

import yaml
from markdown_it import MarkdownIt

out = []
for name in sys.argv[1:]:
    text = open(name, encoding="utf-8").read()
    _, meta, body = text.split("---\n", 2)
    tokens, words = [], []
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(body):
        tokens.append(token.type)
        for child in token.children or []:
            if child.type in ("text", "text_special", "softbreak"):
                words.append(child.content)
            else:
                tokens.append(child.type)
    out.append({"tokens": tokens, "words": "".join(words), "meta": yaml.safe_load(meta)})
print(json.dumps(out))
