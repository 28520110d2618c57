package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/control/api/apply"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/manifest"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

const (
	manifestSettle = 100 * time.Millisecond // a burst of file events is one change
	manifestPoll   = 500 * time.Millisecond // for file systems without events, and links above the folder
	manifestRetry  = 2 * time.Second        // until what was refused is tried again as it is
	manifestDepth  = 32                     // folders within folders, at most; links may lead in a circle
)

// environment applies what the process's environment stands for. What somebody
// else wrote under the same name takes precedence.
type environment struct {
	applier   *apply.Applier
	snapshots *snapshot.Publisher
	// resources reads them; OIDC_CONFIG_FILE_PATH may have changed.
	resources func() ([]v1.Resource, error)
}

// apply writes the environment's resources, without those that the documents
// name too, and removes what the environment no longer stands for.
func (e *environment) apply(ctx context.Context, docs []manifest.Document) error {
	taken := map[identity.ResourceKey]bool{}
	for _, d := range docs {
		taken[keyOf(d.Resource)] = true
	}
	resources, err := e.resources()
	if err != nil {
		return err
	}
	s := e.snapshots.Load()
	req := apply.Request{Prune: true}
	for _, r := range resources {
		key := keyOf(r)
		if taken[key] || othersHave(s, key) {
			continue
		}
		req.Documents = append(req.Documents, manifest.Document{File: "environment", Resource: r})
	}
	if _, err := e.applier.Apply(ctx, apply.SystemActor(v1.ManagerEnv), req); err != nil {
		return fmt.Errorf("the environment's resources: %w", err)
	}
	return nil
}

// has reports whether the environment's resources have a name among documents.
func (e *environment) has(docs []manifest.Document) bool {
	s := e.snapshots.Load()
	if s == nil {
		return false
	}
	for _, d := range docs {
		old, ok := s.Resource(keyOf(d.Resource))
		if ok && old.Meta().Manager == v1.ManagerEnv {
			return true
		}
	}
	return false
}

func keyOf(r v1.Resource) identity.ResourceKey {
	return identity.ResourceKey{Kind: r.Type().Kind, Name: r.Meta().Name}
}

// othersHave reports whether somebody else wrote a resource. s is nil where the
// configuration has grown too old; then the store will say.
func othersHave(s *snapshot.Snapshot, key identity.ResourceKey) bool {
	if s == nil {
		return false
	}
	old, ok := s.Resource(key)
	return ok && old.Meta().Manager != v1.ManagerEnv
}

// manifestWatcher keeps the configuration as a directory of manifests and the
// file of OIDC_CONFIG_FILE_PATH say. A change that is not good changes nothing:
// the last good one goes on.
type manifestWatcher struct {
	dir     string // empty: no directory
	file    string // empty: no file
	applier *apply.Applier
	env     *environment
	log     *slog.Logger

	mu  sync.Mutex
	err error

	// Only refresh uses these.
	stamp   [sha256.Size]byte
	tried   time.Time
	applied []manifest.Document // the last good ones

	stop context.CancelFunc
	done chan struct{}
}

func (m *manifestWatcher) problem() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// start applies once and then follows. The first failure is reported like any
// other: a bad manifest must not keep a gateway from starting with what it had.
func (m *manifestWatcher) start(ctx context.Context) error {
	if m.done != nil {
		return nil // it follows already
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("manifests.dir: %w", err)
	}
	m.refresh(ctx, watcher)
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.stop, m.done = stop, make(chan struct{})
	go func() {
		defer close(m.done)
		defer func() { _ = watcher.Close() }()
		m.follow(run, watcher)
	}()
	return nil
}

func (m *manifestWatcher) close() {
	if m.stop != nil {
		m.stop()
		<-m.done
	}
}

func (m *manifestWatcher) follow(ctx context.Context, w *fsnotify.Watcher) {
	poll := time.NewTicker(manifestPoll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
		case <-w.Errors:
		case <-w.Events:
			if !settle(ctx, w) {
				return
			}
		}
		m.refresh(ctx, w)
	}
}

// settle waits until a burst of events is over.
func settle(ctx context.Context, w *fsnotify.Watcher) bool {
	t := time.NewTimer(manifestSettle)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-w.Events:
		case <-t.C:
			return true
		}
	}
}

// refresh applies what there is if it has changed since it was last looked at.
// Folders are watched before they are read, so that no change falls between.
// What was refused is tried again: somebody may have let go of a resource, or
// the database may be back.
func (m *manifestWatcher) refresh(ctx context.Context, w *fsnotify.Watcher) {
	now := stampOf(m.dir, m.file, func(folder string) { _ = w.Add(folder) }) // the poll sees what cannot be watched
	before := m.problem()
	if now == m.stamp && (before == nil || time.Since(m.tried) < manifestRetry) {
		return
	}
	m.stamp, m.tried = now, time.Now()
	err := m.apply(ctx)
	m.mu.Lock()
	m.err = err
	m.mu.Unlock()
	switch {
	case err == nil:
		m.log.Info("manifests applied", "dir", m.dir, "file", m.file)
	case before == nil || before.Error() != err.Error():
		m.log.Error("manifests refused; the last good configuration goes on", "dir", m.dir, "file", m.file, "error", err)
	}
}

func (m *manifestWatcher) apply(ctx context.Context) error {
	if m.dir == "" {
		return m.env.apply(ctx, nil)
	}
	docs, err := manifest.ReadPath(m.dir)
	if err != nil {
		return err
	}
	if m.env.has(docs) {
		if err := m.rehearse(ctx); err != nil {
			return err
		}
	}
	// The environment lets go of the names that the folder wants, and takes
	// those that the folder has let go of.
	if err := m.env.apply(ctx, docs); err != nil {
		return err
	}
	if _, err := m.applier.Apply(ctx, apply.SystemActor(v1.ManagerDir), apply.Request{Documents: docs, Prune: true}); err != nil {
		return errors.Join(err, m.env.apply(ctx, m.applied))
	}
	m.applied = docs
	return m.env.apply(ctx, docs)
}

// rehearse refuses a bad change before the environment lets go of anything. It
// reads for itself, because what was applied is not as it was sent.
func (m *manifestWatcher) rehearse(ctx context.Context) error {
	docs, err := manifest.ReadPath(m.dir)
	if err != nil {
		return err
	}
	_, err = m.applier.Apply(ctx, apply.SystemActor(v1.ManagerDir), apply.Request{Documents: docs, DryRun: true, TakeOver: true})
	return err
}

// stampOf changes when a file does, or any manifest below a folder, and names
// each folder that it has looked into. Links are followed, because a mounted
// ConfigMap swaps a link, and so does git-sync; names that begin with a dot are
// left out, as manifest.ReadPath leaves them out.
func stampOf(dir, file string, visit func(folder string)) [sha256.Size]byte {
	h := sha256.New()
	if file != "" {
		visit(filepath.Dir(file)) // the folder, because editors replace files
		stampFile(h, file)
	}
	if dir != "" {
		stampFolder(h, dir, 0, visit)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func stampFolder(h io.Writer, folder string, depth int, visit func(string)) {
	real, err := filepath.EvalSymlinks(folder)
	if err != nil || depth > manifestDepth {
		return // ReadPath reports it
	}
	visit(real)
	_, _ = fmt.Fprintln(h, "folder", folder, real)
	entries, err := os.ReadDir(real)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		name := filepath.Join(folder, entry.Name())
		if st, err := os.Stat(name); err == nil && st.IsDir() {
			stampFolder(h, name, depth+1, visit)
			continue
		}
		stampFile(h, name)
	}
}

// stampFile takes down where a file really lies besides its size and time: a
// link may be swapped to a file with the same.
func stampFile(h io.Writer, name string) {
	st, err := os.Stat(name)
	if err != nil {
		_, _ = fmt.Fprintln(h, name, "cannot be read")
		return
	}
	target, _ := filepath.EvalSymlinks(name)
	_, _ = fmt.Fprintln(h, name, target, st.Size(), st.ModTime().UnixNano())
}
