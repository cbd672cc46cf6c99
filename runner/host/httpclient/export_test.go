package httpclient

import (
	"bufio"
	"io"

	"holdfast/tasks/task"
)

// Read reads the answer to a request with method.
func Read(from io.Reader, method string, limit int64) (task.Response, error) {
	return (&reader{r: bufio.NewReader(from), limit: limit}).response(method)
}
