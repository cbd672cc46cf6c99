package remote

import (
	"context"
	"io"
	"strings"
	"time"
)

// Program is a program that runs on a target without a helper and leaves nothing there.
type Program struct{ boot *bootstrap }

// Run starts a program, as root if wanted, with nothing on its input. The program ends
// at the latest with the Program or its connection. Setup bounds the time until it
// runs; 0 is two minutes.
func Run(ctx context.Context, conn Conn, root Root, setup time.Duration, argv ...string) (*Program, error) {
	ctx, cancel := context.WithTimeout(ctx, orDefault(setup, 2*time.Minute))
	defer cancel()
	boot, err := begin(ctx, conn, argv[0], root, func(b *bootstrap) error {
		if err := b.run(root, tied(argv, b.nonce)+"\n"); err != nil {
			return err
		}
		_, err := b.line(wordBegin)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Program{boot}, nil
}

// Stdout is what it prints.
func (p *Program) Stdout() io.Reader { return p.boot.out }

// Wait returns its status when it has ended, -1 with an error when it ended without one.
func (p *Program) Wait() (int, error) { return p.boot.proc.Wait() }

// Said quotes the last of what it complained about, safe to show.
func (p *Program) Said() string {
	p.boot.stderr.ended(lastWords)
	return clean(lastLines(strings.TrimSpace(p.boot.stderr.text()), 3))
}

// Close ends it.
func (p *Program) Close() error { return p.boot.proc.Close() }
