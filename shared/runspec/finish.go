package runspec

// Finish is result.json: how an executor's work ended, and every file it leaves in its artifacts folder. It is written
// durably before the result record, and is whole or absent.
type Finish struct {
	Version   int        `json:"version"` // of this format: Version
	Executor  string     `json:"executor"`
	Result    Result     `json:"result"`
	Artifacts []Artifact `json:"artifacts"`
}
