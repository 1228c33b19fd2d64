package runspec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Limits of the record stream.
const (
	MaxRecordBytes  = 64 << 10  // one record as JSON
	MaxBatchBytes   = 256 << 10 // one callback body
	MaxBatchRecords = 1000
)

// Type names what a record says.
type Type string

// The record types; each has a Go struct of the same name with Record's suffix dropped.
const (
	TypePhase      Type = "phase"
	TypeProgress   Type = "progress"
	TypeStep       Type = "step"
	TypeEpoch      Type = "epoch"
	TypeSystem     Type = "system"
	TypeProblem    Type = "problem"
	TypeLog        Type = "log"
	TypeEvaluation Type = "evaluation"
	TypeArtifact   Type = "artifact"
	TypeCheckpoint Type = "checkpoint"
	TypePrediction Type = "prediction"
	TypePlan       Type = "plan"
	TypeResult     Type = "result"
	TypeState      Type = "state" // made by the server, never by a trainer
)

// Record is one line of a trainer's story. Seq counts from 1 per executor without holes. Body is one of the structs
// below, by value; a record of an unknown type keeps its JSON as json.RawMessage, so that it survives being stored.
type Record struct {
	Seq  int64
	Time time.Time
	Type Type
	Body any
}

type header struct {
	Seq  int64     `json:"seq"`
	Time time.Time `json:"time"`
	Type Type      `json:"type"`
}

// MarshalJSON writes the header and the body's fields as one flat object.
func (r Record) MarshalJSON() ([]byte, error) {
	head, err := json.Marshal(header{Seq: r.Seq, Time: r.Time.UTC(), Type: r.Type})
	if err != nil {
		return nil, err
	}
	if raw, ok := r.Body.(json.RawMessage); ok {
		return flattenRaw(head, raw)
	}
	body, err := json.Marshal(r.Body)
	if err != nil {
		return nil, fmt.Errorf("encode %s record: %w", r.Type, err)
	}
	if len(body) < 2 || body[0] != '{' {
		return nil, fmt.Errorf("encode %s record: its body is not an object", r.Type)
	}
	if len(body) == 2 {
		return head, nil
	}
	return append(append(head[:len(head)-1], ','), body[1:]...), nil
}

// flattenRaw merges a body kept as JSON; it may itself hold the header's fields, which lose to the header.
func flattenRaw(head []byte, raw json.RawMessage) ([]byte, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	if err := json.Unmarshal(head, &all); err != nil {
		return nil, err
	}
	return json.Marshal(all)
}

// UnmarshalJSON decodes the header and then the body by its type.
func (r *Record) UnmarshalJSON(b []byte) error {
	var h header
	if err := json.Unmarshal(b, &h); err != nil {
		return err
	}
	body, err := decodeBody(h.Type, b)
	if err != nil {
		return fmt.Errorf("decode %s record: %w", h.Type, err)
	}
	*r = Record{Seq: h.Seq, Time: h.Time, Type: h.Type, Body: body}
	return nil
}

func decodeBody(t Type, b []byte) (any, error) {
	switch t {
	case TypePhase:
		return as[Phase](b)
	case TypeProgress:
		return as[Progress](b)
	case TypeStep:
		return as[Step](b)
	case TypeEpoch:
		return as[Epoch](b)
	case TypeSystem:
		return as[System](b)
	case TypeProblem:
		return as[Problem](b)
	case TypeLog:
		return as[Log](b)
	case TypeEvaluation:
		return as[Evaluation](b)
	case TypeArtifact:
		return as[Artifact](b)
	case TypeCheckpoint:
		return as[Checkpoint](b)
	case TypePrediction:
		return as[Prediction](b)
	case TypePlan:
		return as[Plan](b)
	case TypeResult:
		return as[Result](b)
	case TypeState:
		return as[State](b)
	}
	return json.RawMessage(bytes.Clone(b)), nil
}

func as[T any](b []byte) (T, error) {
	var v T
	err := json.Unmarshal(b, &v)
	return v, err
}
