// Package labels writes class names as the text file that comes with every exported model.
package labels

import "strings"

// File is the name of that text file, beside the models and within those that hold files.
const File = "labels.txt"

// Text lists the class names in output order, one a line, in UTF-8: line i (from 0) names output i. A line break
// inside a name becomes a space, since it would shift all names behind it.
func Text(names []string) []byte {
	breaks := strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ")
	var b strings.Builder
	for _, n := range names {
		b.WriteString(breaks.Replace(n))
		b.WriteByte('\n')
	}
	return []byte(b.String())
}
