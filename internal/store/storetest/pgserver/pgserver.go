package pgserver

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// Superuser is who tests connect as.
const Superuser = "gatehouse"

// Server is one server. It has no goroutine: whoever starts it closes it.
type Server struct {
	// Port is where it listens, on 127.0.0.1, also after a restart.
	Port int
	// Password is the superuser's.
	Password string

	bin, dir string
	cred     *syscall.Credential // nil where the tests themselves are not root
	cmd      *exec.Cmd
	guard    *exec.Cmd
	release  io.Closer
}

// Start makes and starts a server. The error says which command failed and what
// it answered; tests that need the server skip with it.
func Start() (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, Password: rand.Text()}
	if s.cred, err = credential(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "gatehouse-postgres-"); err != nil {
		return nil, err
	}
	err = s.initialise()
	if err == nil {
		err = s.Run()
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// binaries finds the folder of initdb and postgres: in the PATH, or where
// distributions put them.
func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if resolved, err := filepath.EvalSymlinks(path); err == nil {
			path = resolved
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), "postgres")); err == nil {
			return filepath.Dir(path), nil
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", errors.New("initdb: not in the PATH, and nothing in /usr/lib/postgresql/*/bin")
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// credential is who the server runs as: PostgreSQL refuses to be root.
func credential() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil && uid != 0 {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("the tests run as root, which PostgreSQL refuses, and there is no user postgres or nobody")
}

func (s *Server) initialise() error {
	password := filepath.Join(s.dir, "password")
	if err := os.WriteFile(password, []byte(s.Password), 0o600); err != nil {
		return err
	}
	if s.cred != nil {
		for _, path := range []string{s.dir, password} {
			if err := os.Chown(path, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
				return err
			}
		}
	}
	// Another order of letters than that of bytes, where the server has one, so
	// that statements which count on the order of bytes fail.
	args := []string{"-D", s.data(), "-U", Superuser, "-A", "scram-sha-256", "--pwfile", password, "-E", "UTF8", "--no-sync"}
	out, err := s.command("initdb", append(args, "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en")...).CombinedOutput()
	if err != nil {
		_ = os.RemoveAll(s.data())
		out, err = s.command("initdb", append(args, "--locale=C")...).CombinedOutput()
	}
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, strings.TrimSpace(string(out)))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.Port = l.Addr().(*net.TCPAddr).Port
	return l.Close()
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: s.cred}
	return cmd
}

// Run starts the server, again after Stop or Kill, on the same port and data.
func (s *Server) Run() error {
	log, err := os.OpenFile(filepath.Join(s.dir, "server.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := s.command("postgres", "-D", s.data(), "-p", strconv.Itoa(s.Port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "shared_buffers=32MB", "-c", "max_connections=100", "-c", "autovacuum_naptime=1h", "-c", "log_checkpoints=off")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	s.cmd = cmd
	// Its standard input closes when this process ends, however it ends.
	s.guard = exec.Command("/bin/sh", "-c", `read -r _; kill -s QUIT "$1"`, "guard", strconv.Itoa(cmd.Process.Pid))
	s.guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if s.release, err = s.guard.StdinPipe(); err == nil {
		err = s.guard.Start()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("the server's guard: %w", err), s.Kill())
	}
	return s.ready()
}

// ready waits until the server answers.
func (s *Server) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	db, err := sql.Open("pgx", s.URL("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	for {
		if err = db.PingContext(ctx); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("postgres does not answer: %w: %s", err, s.Log())
		case <-tick.C:
		}
	}
}

// Version is what the server says of itself: "15.18".
func (s *Server) Version() string {
	out, err := s.command("postgres", "--version").Output()
	if err != nil {
		return "unknown"
	}
	if words := strings.Fields(string(out)); len(words) > 2 {
		return words[2]
	}
	return "unknown"
}

// Log is the end of the server's own log.
func (s *Server) Log() string {
	b, err := os.ReadFile(filepath.Join(s.dir, "server.log"))
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-4000):])
}

// URL is how a database of the server is reached.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable", Superuser, s.Password, s.Port, database)
}

// CreateDatabase makes an empty database and returns its URL and its end.
func (s *Server) CreateDatabase(name string) (url string, drop func() error, err error) {
	drop = func() error { return s.Exec("postgres", `DROP DATABASE IF EXISTS `+name+` WITH (FORCE)`) }
	return s.URL(name), drop, s.Exec("postgres", `CREATE DATABASE `+name)
}

// Exec runs a statement in a database, as the superuser.
func (s *Server) Exec(database, statement string) error {
	db, err := sql.Open("pgx", s.URL(database))
	if err != nil {
		return err
	}
	_, err = db.Exec(statement)
	return errors.Join(err, db.Close())
}

// Freeze stops the server's processes where they are; connections stay open, and
// nothing answers. The first process is stopped before its children are listed:
// it could make another one meanwhile, which would go on answering.
func (s *Server) Freeze() error {
	first := s.cmd.Process.Pid
	if err := freeze(first); err != nil {
		return err
	}
	children, err := s.children()
	if err != nil {
		return err
	}
	for _, pid := range children {
		if err := freeze(pid); err != nil {
			return err
		}
	}
	return nil
}

// Thaw lets frozen processes go on, the first one last.
func (s *Server) Thaw() error {
	children, err := s.children()
	if err != nil {
		return err
	}
	for _, pid := range append(children, s.cmd.Process.Pid) {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

// children lists the processes of the first one: each has a group of its own.
func (s *Server) children() ([]int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", s.cmd.Process.Pid))
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, field := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// freeze returns when a process has stopped, which it does a moment after the
// signal, or is no more.
func freeze(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		if errors.Is(err, syscall.ESRCH) {
			return nil
		}
		return err
	}
	for range 1000 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			return nil
		}
		if err != nil {
			return err
		}
		// proc(5): the state follows the name, which is in parentheses.
		_, after, _ := strings.Cut(string(stat), ") ")
		if strings.HasPrefix(after, "T") || strings.HasPrefix(after, "Z") {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("process %d does not stop", pid)
}

// Stop ends the server in an orderly way, its connections at once.
func (s *Server) Stop() error { return s.end(syscall.SIGINT) }

// Kill ends the server at once, without a checkpoint, as pg_ctl -m immediate.
func (s *Server) Kill() error { return s.end(syscall.SIGQUIT) }

func (s *Server) end(sig syscall.Signal) error {
	if s.cmd == nil {
		return nil
	}
	_ = s.cmd.Process.Signal(sig)
	_ = s.cmd.Wait() // how it ended is in its log
	s.cmd = nil
	if s.guard != nil && s.guard.Process != nil {
		_ = s.guard.Process.Kill()
		_ = s.guard.Wait()
		_ = s.release.Close()
	}
	s.guard = nil
	return nil
}

// Close ends the server and removes everything of it.
func (s *Server) Close() error {
	return errors.Join(s.Kill(), os.RemoveAll(s.dir))
}
