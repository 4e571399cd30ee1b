package main

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"
)

// flagProblem says what is wrong with a flag. A value is not repeated: it may be a secret in the wrong place.
func flagProblem(err error) string {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		if shorts := unknown.GetSpecifiedShortnames(); shorts != "" {
			return "unknown flag -" + shorts
		}
		return "unknown flag --" + unknown.GetSpecifiedName()
	}
	if missing, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return fmt.Sprintf("--%s needs a value", missing.GetSpecifiedName())
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return fmt.Sprintf("--%s needs %s", invalid.GetFlag().Name, valueOf(invalid.GetFlag().Value.Type()))
	}
	return "a flag is not understood"
}

func valueOf(flagType string) string {
	switch flagType {
	case "int":
		return "a whole number"
	case "duration":
		return "a duration such as 90s or 15m"
	case "bool":
		return "no value, true or false"
	default:
		return "another value"
	}
}
