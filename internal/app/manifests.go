package app

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
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
	manifestPoll   = 5 * time.Second        // for file systems without events
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
		taken[identity.ResourceKey{Kind: d.Resource.Type().Kind, Name: d.Resource.Meta().Name}] = true
	}
	resources, err := e.resources()
	if err != nil {
		return err
	}
	s := e.snapshots.Load()
	req := apply.Request{Prune: true}
	for _, r := range resources {
		key := identity.ResourceKey{Kind: r.Type().Kind, Name: r.Meta().Name}
		if old, ok := s.Resource(key); taken[key] || (ok && old.Meta().Manager != v1.ManagerEnv) {
			continue
		}
		req.Documents = append(req.Documents, manifest.Document{File: "environment", Resource: r})
	}
	if _, err := e.applier.Apply(ctx, apply.SystemActor(v1.ManagerEnv), req); err != nil {
		return fmt.Errorf("the environment's resources: %w", err)
	}
	return nil
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

	mu    sync.Mutex
	err   error
	stamp [sha256.Size]byte

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
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("manifests.dir: %w", err)
	}
	m.refresh(ctx)
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
		m.watchFolders(w)
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
		m.refresh(ctx)
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

// watchFolders adds folders that are new; those that are watched already stay.
func (m *manifestWatcher) watchFolders(w *fsnotify.Watcher) {
	if m.file != "" {
		_ = w.Add(filepath.Dir(m.file)) // the folder, because editors replace files
	}
	if m.dir == "" {
		return
	}
	_ = filepath.WalkDir(m.dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = w.Add(p) // the poll behind it sees what cannot be watched
		}
		return nil
	})
}

// refresh applies the directory if it has changed since it was last looked at.
func (m *manifestWatcher) refresh(ctx context.Context) {
	stamp := stampOf(m.dir, m.file)
	m.mu.Lock()
	same := stamp == m.stamp
	m.stamp = stamp
	m.mu.Unlock()
	if same {
		return
	}
	err := m.apply(ctx)
	m.mu.Lock()
	m.err = err
	m.mu.Unlock()
	if err != nil {
		m.log.Error("manifests refused; the last good configuration goes on", "dir", m.dir, "file", m.file, "error", err)
		return
	}
	m.log.Info("manifests applied", "dir", m.dir, "file", m.file)
}

func (m *manifestWatcher) apply(ctx context.Context) error {
	if m.dir == "" {
		return m.env.apply(ctx, nil)
	}
	docs, err := manifest.ReadPath(m.dir)
	if err != nil {
		return err
	}
	if err := m.env.apply(ctx, docs); err != nil {
		return err
	}
	_, err = m.applier.Apply(ctx, apply.SystemActor(v1.ManagerDir), apply.Request{Documents: docs, Prune: true})
	return err
}

// stampOf changes when a file does, or any file below a folder. Links are
// followed, because a mounted ConfigMap swaps a link.
func stampOf(roots ...string) [sha256.Size]byte {
	h := sha256.New()
	for _, root := range roots {
		if root == "" {
			continue
		}
		_ = filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
			if err != nil {
				return nil // it will be missed when it is read, which reports it
			}
			if st, err := os.Stat(p); err == nil && !st.IsDir() {
				_, _ = fmt.Fprintln(h, p, st.Size(), st.ModTime().UnixNano())
			}
			return nil
		})
	}
	return [sha256.Size]byte(h.Sum(nil))
}
