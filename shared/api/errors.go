package api

import (
	"errors"
	"fmt"
	"net/http"
)

// statuses is the one place where error codes meet HTTP; the client inverts it.
var statuses = map[ErrorCode]int{
	CodeInvalid:      http.StatusBadRequest,
	CodeUnauthorized: http.StatusUnauthorized,
	CodeForbidden:    http.StatusForbidden,
	CodeNotFound:     http.StatusNotFound,
	CodeConflict:     http.StatusConflict,
	CodeTooLarge:     http.StatusRequestEntityTooLarge,
	CodeUnavailable:  http.StatusServiceUnavailable,
	CodeInternal:     http.StatusInternalServerError,
}

// Error returns the sentence for people; Error implements error.
func (e *Error) Error() string { return e.Message }

// Errorf makes an Error with a formatted sentence for people: what happened, why, what to do.
func Errorf(code ErrorCode, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Code returns the code of the first *Error in err's chain, CodeInternal when there is none.
func Code(err error) ErrorCode {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// Status returns the HTTP status of a code; an unknown code is an internal error.
func Status(code ErrorCode) int {
	if s, ok := statuses[code]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// CodeOf returns the code for an HTTP status that came without a body we know.
func CodeOf(status int) ErrorCode {
	for code, s := range statuses {
		if s == status {
			return code
		}
	}
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusBadGateway, status == http.StatusGatewayTimeout:
		return CodeUnavailable
	case status >= 400 && status < 500:
		return CodeInvalid
	}
	return CodeInternal
}
