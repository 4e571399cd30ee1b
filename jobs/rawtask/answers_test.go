package rawtask_test

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// answers is a hook that tells how large each script's answer was.
type answers func(bytes int)

func (answers) DialHook(next redis.DialHook) redis.DialHook { return next }

func (a answers) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if script, ok := cmd.(*redis.Cmd); ok {
			a(size(script.Val()))
		}
		return err
	}
}

func (answers) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func size(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case []any:
		n := 0
		for _, one := range v {
			n += size(one)
		}
		return n
	default:
		return 8
	}
}
