package disk

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// format is raised whenever a version that reads the old one would misread.
const format = 1

const (
	baseName    = "snapshot.sealed"
	journalName = "removals.sealed"
	stampName   = "confirmed"
	temporary   = ".tmp"

	baseMagic    = "GHSNAP"
	journalMagic = "GHREMV"
	stampMagic   = "GHCONF"

	headerLen      = len(baseMagic) + 2 + 16 // magic, format, file id
	frameHeaderLen = 8                       // length, checksum of the length and the number

	// chunkSize is how much of the base is sealed at once.
	chunkSize = 1 << 20
	// maxFrame bounds what is read into memory at once; one resource or one
	// change must fit.
	maxFrame = 64 << 20
)

var (
	// ErrNone: there is no copy.
	ErrNone = errors.New("there is no copy of the configuration on disk")
	// ErrStale: the copy is good, but too old to be served.
	ErrStale = errors.New("the copy of the configuration on disk is too old")
	// ErrUnusable: the copy is damaged, incomplete, of another format or epoch,
	// or sealed with another key. None of it is used.
	ErrUnusable = errors.New("the copy of the configuration on disk cannot be used")

	// errTorn is a frame that ends before it should.
	errTorn = errors.New("a frame is incomplete")
)

// Opener opens what Keys sealed.
type Opener interface {
	Open(sealed, associatedData []byte) ([]byte, error)
}

// Keys seal bytes so that they open only with the same associated data.
type Keys interface {
	Opener
	Seal(plaintext, associatedData []byte) ([]byte, error)
}

type fileID [16]byte

func unusable(what string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnusable, fmt.Errorf(what, args...))
}

// binding is the associated data of a frame.
func binding(magic string, id fileID, number uint64, last bool) []byte {
	b := make([]byte, 0, 64)
	b = append(b, "gatehouse/snapshot/"...)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint16(b, format)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, number)
	if last {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendHeader(b []byte, magic string, id fileID) []byte {
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint16(b, format)
	return append(b, id[:]...)
}

func parseHeader(b []byte, magic string) (id fileID, err error) {
	if len(b) < headerLen || string(b[:len(magic)]) != magic {
		return id, unusable("it is not a file of this kind")
	}
	if f := binary.BigEndian.Uint16(b[len(magic):]); f != format {
		return id, unusable("it has format %d, this version reads %d", f, format)
	}
	copy(id[:], b[len(magic)+2:])
	return id, nil
}

// lengthSum guards the length of a frame: without it one wrong bit in the
// middle of a journal would look like a torn end and hide all that follows.
func lengthSum(length uint32, number uint64) uint32 {
	var b [12]byte
	binary.BigEndian.PutUint32(b[:], length)
	binary.BigEndian.PutUint64(b[4:], number)
	return crc32.ChecksumIEEE(b[:])
}

// appendFrame seals plain as a frame.
func appendFrame(b []byte, keys Keys, magic string, id fileID, number uint64, last bool, plain []byte) ([]byte, error) {
	if len(plain) > maxFrame-1024 {
		return nil, fmt.Errorf("%d bytes are too many for one frame", len(plain))
	}
	sealed, err := keys.Seal(plain, binding(magic, id, number, last))
	if err != nil {
		return nil, err
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(sealed)))
	b = binary.BigEndian.AppendUint32(b, lengthSum(uint32(len(sealed)), number))
	return append(b, sealed...), nil
}

// parseFrameHeader returns how many sealed bytes follow, of the left ones.
func parseFrameHeader(b []byte, number uint64, left int64) (int, error) {
	length := binary.BigEndian.Uint32(b)
	if binary.BigEndian.Uint32(b[4:]) != lengthSum(length, number) || length > maxFrame {
		return 0, unusable("the length of frame %d is damaged", number)
	}
	if int64(length) > left {
		return 0, errTorn
	}
	return int(length), nil
}

// frames reads a file frame by frame.
type frames struct {
	file   *os.File
	buf    *bufio.Reader
	keys   Opener
	magic  string
	id     fileID
	left   int64
	number uint64 // of the next frame
}

func openFrames(path, magic string, keys Opener) (*frames, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	f := &frames{file: file, buf: bufio.NewReaderSize(file, 256<<10), keys: keys, magic: magic}
	if err := f.header(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return f, nil
}

func (f *frames) header() error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	head := make([]byte, headerLen)
	if _, err := io.ReadFull(f.buf, head); err != nil {
		return unusable("its header is incomplete: %w", err)
	}
	f.left = info.Size() - int64(headerLen)
	f.id, err = parseHeader(head, f.magic)
	return err
}

// next returns a frame in the clear; io.EOF after the last, errTorn for one
// that is incomplete. lastBound says whether the file's last frame is bound as
// such.
func (f *frames) next(lastBound bool) (plain []byte, last bool, err error) {
	if f.left == 0 {
		return nil, false, io.EOF
	}
	if f.left < frameHeaderLen {
		return nil, false, errTorn
	}
	var head [frameHeaderLen]byte
	if _, err := io.ReadFull(f.buf, head[:]); err != nil {
		return nil, false, unusable("frame %d cannot be read: %w", f.number, err)
	}
	length, err := parseFrameHeader(head[:], f.number, f.left-frameHeaderLen)
	if err != nil {
		return nil, false, err
	}
	sealed := make([]byte, length)
	if _, err := io.ReadFull(f.buf, sealed); err != nil {
		return nil, false, unusable("frame %d cannot be read: %w", f.number, err)
	}
	f.left -= int64(frameHeaderLen + length)
	last = f.left == 0
	plain, err = f.keys.Open(sealed, binding(f.magic, f.id, f.number, last && lastBound))
	if err != nil {
		return nil, false, unusable("frame %d: %w", f.number, err)
	}
	f.number++
	return plain, last, nil
}

// skipToLast leaves the last frame as the next one.
func (f *frames) skipToLast() error {
	for {
		head, err := f.buf.Peek(frameHeaderLen)
		if err != nil {
			return unusable("frame %d is incomplete: %w", f.number, err)
		}
		length, err := parseFrameHeader(head, f.number, f.left-frameHeaderLen)
		if err != nil {
			return unusable("frame %d: %w", f.number, err)
		}
		whole := frameHeaderLen + length
		if int64(whole) == f.left {
			return nil
		}
		if _, err := f.buf.Discard(whole); err != nil {
			return unusable("frame %d cannot be read: %w", f.number, err)
		}
		f.left -= int64(whole)
		f.number++
	}
}

func (f *frames) close() { _ = f.file.Close() } // read only

// syncDir makes renames and removals in a directory durable. Windows cannot
// sync a directory; NTFS journals its entries itself.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// create makes the temporary file for a name; only its owner may read it.
func create(dir, name string) (*os.File, error) {
	path := filepath.Join(dir, name+temporary)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

func install(dir, name string) error {
	path := filepath.Join(dir, name)
	return os.Rename(path+temporary, path)
}
