//go:build real

package real_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/testkit/real"
)

// TestGuardHelper is not a test of its own: it starts a component inside the
// process that TestComponentsEndWithAKilledTestBinary kills.
func TestGuardHelper(t *testing.T) {
	if os.Getenv("GATEHOUSE_TEST_GUARD_HELPER") == "" {
		t.Skip("SKIP: only run by TestComponentsEndWithAKilledTestBinary")
	}
	s := real.Caddy(t, ":$PORT {\n\trespond ok\n}")
	fmt.Println("serving", strings.TrimPrefix(s.URL, "http://"))
	_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed
}

func TestComponentsEndWithAKilledTestBinary(t *testing.T) {
	real.Caddy(t, ":$PORT {\n\trespond ok\n}") // skips here when there is no Caddy
	helper := exec.Command(os.Args[0], "-test.run=^TestGuardHelper$", "-test.v")
	helper.Env = append(os.Environ(), "GATEHOUSE_TEST_GUARD_HELPER=1", "GATEHOUSE_REAL_REPORT=")
	stdin, err := helper.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := helper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	var address string
	for lines := bufio.NewScanner(stdout); address == "" && lines.Scan(); {
		address, _ = strings.CutPrefix(lines.Text(), "serving ")
		if !strings.Contains(lines.Text(), "serving ") {
			address = ""
		}
	}
	_ = helper.Process.Kill()
	_ = helper.Wait()
	if address == "" {
		t.Fatal("the helper served nothing")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return // it is gone
		}
		_ = conn.Close()
		select {
		case <-ctx.Done():
			t.Fatal("the component outlived the test binary that started it")
		case <-tick.C:
		}
	}
}
