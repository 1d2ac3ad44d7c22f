// Checks exported ledgers and proofs of releases with golang.org/x/mod/sumdb, and with nothing of the gateway's code.
//
// Written from docs/protocol.md and the C2SP specifications. Notes are opened by sumdb/note; hashes, trees, tiles,
// inclusion and consistency are those of sumdb/tlog. Its TileHashReader does not authenticate tiles, so it is not used:
// every hash is computed from the entries, and every tile is compared with what they give.
//
//	check export DIR VKEY...    check proof FILE VKEY...
//
// VKEY is a verifier key of type 0x01 (a log key under the name of a ledger, or of a gateway) or 0x04 (a receipt key).
// It prints one JSON object and exits with 0, or says what is wrong and exits with 1.
package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func fail(format string, args ...interface{}) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

func must(err error, what string) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

// A cosigner of C2SP tlog-cosignature, type 0x04: Ed25519 over a header, a time and the whole note text.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.hash }
func (c *cosigner) Verify(text, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	time := binary.BigEndian.Uint64(sig[:8])
	message := fmt.Sprintf("cosignature/v1\ntime %d\n%s", time, text)
	return ed25519.Verify(c.key, []byte(message), sig[8:])
}

func cosignerOf(vkey string) *cosigner {
	parts := strings.SplitN(vkey, "+", 3)
	raw, err := base64.StdEncoding.DecodeString(parts[2])
	must(err, "verifier key")
	if len(raw) != 33 || raw[0] != 4 {
		return nil
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), raw...))
	hash := binary.BigEndian.Uint32(sum[:4])
	if fmt.Sprintf("%08x", hash) != parts[1] {
		fail("verifier key %s has another key ID", parts[0])
	}
	return &cosigner{parts[0], hash, ed25519.PublicKey(raw[1:])}
}

type keys struct {
	log      []note.Verifier
	cosigner []note.Verifier
}

func keysOf(vkeys []string) (found keys) {
	for _, vkey := range vkeys {
		if c := cosignerOf(vkey); c != nil {
			found.cosigner = append(found.cosigner, c)
			continue
		}
		v, err := note.NewVerifier(vkey)
		must(err, vkey)
		found.log = append(found.log, v)
	}
	return found
}

type tree struct {
	origin string
	size   int64
	root   tlog.Hash
}

// The three lines of a checkpoint, once its signature has been verified.
func treeOf(text string) tree {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		fail("a checkpoint has other than three lines: %q", text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err, "size")
	root, err := tlog.ParseHash(lines[2])
	must(err, "root")
	return tree{lines[0], size, root}
}

func openTree(raw []byte, known []note.Verifier, what string) tree {
	opened, err := note.Open(raw, note.VerifierList(known...))
	must(err, what)
	return treeOf(opened.Text)
}

// All hashes of one tree, in the order in which sumdb stores them.
type stored []tlog.Hash

func (s stored) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index < 0 || index >= int64(len(s)) {
			return nil, fmt.Errorf("no hash is stored at %d", index)
		}
		found[i] = s[index]
	}
	return found, nil
}

func (s *stored) add(n int64, leaf tlog.Hash) {
	more, err := tlog.StoredHashesForRecordHash(n, leaf, *s)
	must(err, "growing the tree")
	*s = append(*s, more...)
}

// The place of a tile in the layout of tlog-tiles, from sumdb's own: without the height.
func placeOf(t tlog.Tile) string {
	return strings.Replace(t.Path(), "tile/8/", "tile/", 1)
}

// The tiles of a tree of one size. (tlog.NewTiles names every width that a partial tile ever had.)
func tilesOf(size int64) (found []tlog.Tile) {
	for level := 0; size > 0; level++ {
		for n := int64(0); n < size>>8; n++ {
			found = append(found, tlog.Tile{H: 8, L: level, N: n, W: 256})
		}
		if width := size % 256; width > 0 {
			found = append(found, tlog.Tile{H: 8, L: level, N: size >> 8, W: int(width)})
		}
		size >>= 8
	}
	return found
}

func entriesPlace(n, width int64) string {
	t := tlog.Tile{H: 8, L: 0, N: n, W: int(width)}
	return strings.Replace(t.Path(), "tile/8/0/", "tile/entries/", 1)
}

func indexPlace(n int64) string {
	t := tlog.Tile{H: 8, L: 0, N: n, W: 256}
	return strings.Replace(t.Path(), "tile/8/0/", "", 1)
}

type outcome struct {
	Origin      string `json:"origin"`
	Size        int64  `json:"size"`
	Absent      int    `json:"absent"`
	Tiles       int    `json:"tiles"`
	Checkpoints int    `json:"checkpoints"`
	Consistency int    `json:"consistency"`
	Inclusion   int    `json:"inclusion"`
	Receipts    int    `json:"receipts"`
}

func checkLedger(dir string, known keys) outcome {
	read := func(name string) []byte {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		must(err, "reading")
		return raw
	}
	last := openTree(read("checkpoint"), known.log, dir+"/checkpoint")
	if !strings.HasSuffix(filepath.ToSlash(dir), last.origin) {
		fail("%s holds %s", dir, last.origin)
	}
	found := outcome{Origin: last.origin, Size: last.size}
	var hashes stored
	for n := int64(0); n < last.size; n += 256 {
		width := last.size - n
		if width > 256 {
			width = 256
		}
		data := read(entriesPlace(n/256, width))
		for i := n; i < n+width; i++ {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				fail("%s: the bundle ends inside entry %d", dir, i)
			}
			length := int(binary.BigEndian.Uint16(data))
			if length == 0 {
				hashes.add(i, absentLeaf(read("absent/"+indexPlace(i)), last.origin, i, known))
				found.Absent++
			} else {
				hashes.add(i, tlog.RecordHash(data[2:2+length]))
			}
			data = data[2+length:]
		}
		if len(data) != 0 {
			fail("%s: the bundle goes on after its entries", dir)
		}
	}
	root, err := tlog.TreeHash(last.size, hashes)
	must(err, "tree hash")
	if root != last.root {
		fail("%s: the entries do not give the signed root", dir)
	}
	for _, tile := range tilesOf(last.size) {
		want, err := tlog.ReadTileData(tile, hashes)
		must(err, "tile")
		if !bytes.Equal(want, read(placeOf(tile))) {
			fail("%s: %s is not what the entries give", dir, placeOf(tile))
		}
		found.Tiles++
	}
	for i := int64(0); i < last.size; i += 1 + last.size/64 {
		path, err := tlog.ProveRecord(last.size, i, hashes)
		must(err, "inclusion proof")
		leaf, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, i)})
		must(err, "leaf")
		must(tlog.CheckRecord(path, last.size, last.root, i, leaf[0]), "inclusion")
		found.Inclusion++
	}
	checkSignatures(dir, known, hashes, last, &found)
	return found
}

// The signed reason why an entry is given as its hash alone: five lines, the leaf hash in the fourth.
func absentLeaf(raw []byte, origin string, index int64, known keys) tlog.Hash {
	opened, err := note.Open(raw, note.VerifierList(known.log...))
	must(err, "absent statement")
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 6 || !strings.HasSuffix(lines[0], "/absent") || lines[1] != origin || lines[2] != fmt.Sprint(index) {
		fail("the statement about entry %d is about another", index)
	}
	leaf, err := tlog.ParseHash(lines[3])
	must(err, "absent statement")
	return leaf
}

func checkSignatures(dir string, known keys, hashes stored, last tree, found *outcome) {
	file, err := os.Open(filepath.Join(dir, "signatures.jsonl"))
	must(err, "signatures")
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	before := tree{last.origin, 0, tlog.Hash{}}
	for lines.Scan() {
		var signed struct {
			Size int64
			Kind string
			Note string
		}
		must(json.Unmarshal(lines.Bytes(), &signed), "signatures")
		var at tree
		switch signed.Kind {
		case "checkpoint":
			at = openTree([]byte(signed.Note), known.log, "checkpoint")
			found.Checkpoints++
		case "receipt":
			at = openTree([]byte(signed.Note), known.cosigner, "receipt")
			found.Receipts++
		default:
			continue
		}
		root, err := tlog.TreeHash(at.size, hashes)
		must(err, "tree hash")
		if at.origin != last.origin || at.size != signed.Size || at.root != root {
			fail("%s: the %s of size %d is not over the entries", dir, signed.Kind, at.size)
		}
		if signed.Kind == "checkpoint" && before.size > 0 {
			path, err := tlog.ProveTree(at.size, before.size, hashes)
			must(err, "consistency proof")
			must(tlog.CheckTree(path, at.size, at.root, before.size, before.root), "consistency")
			found.Consistency++
		}
		if signed.Kind == "checkpoint" {
			before = at
		}
	}
	must(lines.Err(), "signatures")
	if before.size != last.size {
		fail("%s: the last of its checkpoints is of size %d, not %d", dir, before.size, last.size)
	}
}

// The fields of a protobuf message, by number: length-delimited ones as their bytes, varints as a number.
func fieldsOf(raw []byte) (found []struct {
	number int
	data   []byte
	value  uint64
}) {
	for len(raw) > 0 {
		tag, n := binary.Uvarint(raw)
		value, m := binary.Uvarint(raw[n:])
		if n <= 0 || m <= 0 {
			fail("the extra data is no protobuf message")
		}
		raw = raw[n+m:]
		field := struct {
			number int
			data   []byte
			value  uint64
		}{number: int(tag >> 3), value: value}
		if tag&7 == 2 {
			if value > uint64(len(raw)) {
				fail("the extra data is no protobuf message")
			}
			field.data, raw = raw[:value], raw[value:]
		}
		found = append(found, field)
	}
	return found
}

// Numbers of the fields of a Part (ledger.proto).
const (
	fieldGroup    = 1
	fieldSalt     = 2
	fieldContent  = 3
	fieldLeafHash = 4
)

// What the parts of a payload commit to: the root over salt, group and content of each, or the hash that is given.
func commitmentOf(payload []byte) tlog.Hash {
	var hashes stored
	count := int64(0)
	for _, part := range fieldsOf(payload) {
		var leaf, salt, content, hidden []byte
		group := byte(0)
		for _, field := range fieldsOf(part.data) {
			switch field.number {
			case fieldGroup:
				group = byte(field.value)
			case fieldSalt:
				salt = field.data
			case fieldContent:
				content = field.data
			case fieldLeafHash:
				hidden = field.data
			}
		}
		if hidden != nil {
			var hash tlog.Hash
			copy(hash[:], hidden)
			hashes.add(count, hash)
		} else {
			leaf = append(append(append(leaf, salt...), group), content...)
			hashes.add(count, tlog.RecordHash(leaf))
		}
		count++
	}
	root, err := tlog.TreeHash(count, hashes)
	must(err, "commitment")
	return root
}

type proved struct {
	Origin  string `json:"origin"`
	Index   int64  `json:"index"`
	Size    int64  `json:"size"`
	Entry   int    `json:"entry"`
	Shown   bool   `json:"shown"`
	Receipt bool   `json:"receipt"`
}

func checkProof(name string, known keys) proved {
	raw, err := os.ReadFile(name)
	must(err, "reading")
	head, checkpoint, ok := strings.Cut(string(raw), "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" ||
		!strings.HasPrefix(lines[1], "extra ") || !strings.HasPrefix(lines[2], "index ") {
		fail("not a tlog-proof with extra data")
	}
	extra, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	must(err, "extra")
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	must(err, "index")
	var path tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		must(err, "path")
		path = append(path, hash)
	}
	at := openTree([]byte(checkpoint), known.log, "checkpoint")
	found := proved{Origin: at.origin, Index: index, Size: at.size}
	var entry, payload []byte
	for _, field := range fieldsOf(extra) {
		switch field.number {
		case 1:
			entry = field.data
		case 2:
			payload, found.Shown = field.data, true
		}
	}
	must(tlog.CheckRecord(path, at.size, at.root, index, tlog.RecordHash(entry)), "inclusion")
	found.Entry = len(entry)
	if found.Shown {
		if root := commitmentOf(payload); !bytes.Equal(root[:], entry[12:44]) {
			fail("what is shown is not what the entry commits to")
		}
	}
	if len(known.cosigner) > 0 {
		openTree([]byte(checkpoint), known.cosigner, "receipt")
		found.Receipt = true
	}
	return found
}

func main() {
	if len(os.Args) < 4 {
		fail("usage: check export DIR VKEY... | check proof FILE VKEY...")
	}
	known := keysOf(os.Args[3:])
	out := json.NewEncoder(os.Stdout)
	if os.Args[1] == "proof" {
		must(out.Encode(checkProof(os.Args[2], known)), "printing")
		return
	}
	var ledgers []outcome
	must(filepath.WalkDir(os.Args[2], func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "checkpoint" && entry.Type().IsRegular() {
			ledgers = append(ledgers, checkLedger(filepath.Dir(path), known))
		}
		return err
	}), "walking")
	if len(ledgers) == 0 {
		fail("%s holds no ledger", os.Args[2])
	}
	must(out.Encode(ledgers), "printing")
}
