package file

import (
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// PollInterval is the longest time that a change goes unnoticed where the
	// file system sends no notifications.
	PollInterval = 30 * time.Second
	// settleTime lets a writer finish: several events in a row are one change.
	settleTime = 50 * time.Millisecond
)

// Options configure a Backend.
type Options struct {
	// Poll is the time between looks at every file; zero means PollInterval.
	Poll time.Duration
	// Log hears when notifications cannot be had; nil means nobody.
	Log *slog.Logger
}

// Backend reads files, and watches those that it is told to.
type Backend struct {
	poll time.Duration
	log  *slog.Logger
	stop chan struct{}
	wg   sync.WaitGroup

	mu      sync.Mutex
	started bool
	closed  bool
	watcher *fsnotify.Watcher // nil where notifications cannot be had
	files   []string
	dirs    map[string]bool
	changed func(string)
}

// New returns a backend. Nothing runs before the first Watch with a file.
func New(o Options) *Backend {
	if o.Poll <= 0 {
		o.Poll = PollInterval
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Backend{poll: o.Poll, log: o.Log, stop: make(chan struct{}), dirs: map[string]bool{}}
}

// Watch replaces the watched files. changed is called, never from within
// Watch, with each file that may have changed; it may be called without need.
func (b *Backend) Watch(files []string, changed func(file string)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	same := b.started && slices.Equal(b.files, files)
	b.files, b.changed = slices.Clone(files), changed
	if same || (!b.started && len(files) == 0) {
		return
	}
	if !b.started {
		b.begin()
	}
	b.addDirs()
}

// begin starts the goroutine. Callers hold mu.
func (b *Backend) begin() {
	b.started = true
	var events chan fsnotify.Event
	var errs chan error
	w, err := fsnotify.NewWatcher()
	if err != nil {
		b.log.Warn("no file notifications, secret files are polled", slog.Duration("every", b.poll), slog.String("error", err.Error()))
	} else {
		b.watcher, events, errs = w, w.Events, w.Errors
	}
	b.wg.Go(func() { b.run(events, errs) })
}

// addDirs watches the directories of the files and lets go of others. It is
// repeated with every poll: a directory may appear later, or be replaced.
// Callers hold mu.
func (b *Backend) addDirs() {
	if b.watcher == nil {
		return
	}
	want := map[string]bool{}
	for _, f := range b.files {
		want[filepath.Dir(f)] = true
	}
	for dir := range b.dirs {
		if !want[dir] {
			_ = b.watcher.Remove(dir) // It may be gone already.
		}
	}
	b.dirs = want
	for dir := range want {
		_ = b.watcher.Add(dir) // A missing directory is tried again with the next poll.
	}
}

func (b *Backend) run(events <-chan fsnotify.Event, errs <-chan error) {
	poll := time.NewTicker(b.poll)
	defer poll.Stop()
	var settled <-chan time.Time
	dirty := map[string]bool{}
	for {
		select {
		case <-b.stop:
			return
		case e, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			if b.mark(e, dirty) && settled == nil {
				settled = time.After(settleTime)
			}
		case _, ok := <-errs:
			if !ok {
				errs = nil
				continue
			}
			// The queue overflowed: what happened is lost, so everything may have.
			b.markAll(dirty)
			settled = time.After(settleTime)
		case <-poll.C:
			b.mu.Lock()
			b.addDirs()
			b.mu.Unlock()
			b.markAll(dirty)
			b.report(dirty)
		case <-settled:
			settled = nil
			b.report(dirty)
		}
	}
}

// mark notes which files an event may concern. Writing and mode changes
// concern the file itself; a name that appears or goes may be a directory or
// link on the way (Kubernetes swaps the link ..data), so it concerns every file
// in its directory.
func (b *Backend) mark(e fsnotify.Event, dirty map[string]bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	dir, hit := filepath.Dir(e.Name), false
	names := e.Has(fsnotify.Create) || e.Has(fsnotify.Rename) || e.Has(fsnotify.Remove)
	for _, f := range b.files {
		if f == e.Name || names && (filepath.Dir(f) == dir || filepath.Dir(f) == e.Name) {
			dirty[f], hit = true, true
		}
	}
	return hit
}

func (b *Backend) markAll(dirty map[string]bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.files {
		dirty[f] = true
	}
}

// report calls changed without the lock, because it may call Watch.
func (b *Backend) report(dirty map[string]bool) {
	b.mu.Lock()
	changed := b.changed
	b.mu.Unlock()
	for f := range dirty {
		changed(f)
	}
	clear(dirty)
}

// Close stops watching and waits for the goroutine.
func (b *Backend) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	close(b.stop)
	w := b.watcher
	b.mu.Unlock()
	b.wg.Wait()
	if w == nil {
		return nil
	}
	return w.Close()
}
