package identity

import "fmt"

// Step is one thing that was looked at on the way to an answer.
type Step struct {
	// Stage is credential, provider, claims, principal, team,
	// external-identity, token, resource, owner, grant or result.
	Stage string `json:"stage"`
	// OK says whether the step spoke for it.
	OK bool `json:"ok"`
	// Message says what was found and, where it spoke against it, which
	// setting to change.
	Message string `json:"message"`
}

// Trace takes down the steps of an authentication and a decision, for explain.
// A nil Trace takes down nothing.
type Trace struct {
	Steps []Step
}

// Add takes down a step.
func (t *Trace) Add(stage string, ok bool, format string, args ...any) {
	if t != nil {
		t.Steps = append(t.Steps, Step{Stage: stage, OK: ok, Message: fmt.Sprintf(format, args...)})
	}
}

// Note takes down a step whose message is ready; it costs nothing on a nil Trace.
func (t *Trace) Note(stage string, ok bool, message string) {
	if t != nil {
		t.Steps = append(t.Steps, Step{Stage: stage, OK: ok, Message: message})
	}
}
