// Command key-pairs says of many certificates and keys whether Go's servers take them.
//
// Standard input is a sequence of frames, each a length (four bytes, big-endian) and that many bytes: a certificate file,
// its key file, the next certificate file, and so on. Standard output has a line for each pair: "yes" and what the leaf
// says, as JSON, or "no" and why.
package main

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

type leaf struct {
	Version   int
	Names     []string
	NotBefore int64
	NotAfter  int64
}

func main() {
	if err := run(bufio.NewReader(os.Stdin), bufio.NewWriter(os.Stdout)); err != nil {
		fmt.Fprintln(os.Stderr, "key-pairs:", err)
		os.Exit(1)
	}
}

func run(pairs *bufio.Reader, verdicts *bufio.Writer) error {
	for {
		certificate, err := frame(pairs)
		if errors.Is(err, io.EOF) {
			return verdicts.Flush()
		}
		if err != nil {
			return err
		}
		key, err := frame(pairs)
		if err != nil {
			return fmt.Errorf("a certificate without its key: %w", err)
		}
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			fmt.Fprintln(verdicts, "no", strconv.Quote(err.Error()))
			continue
		}
		facts, err := json.Marshal(leaf{pair.Leaf.Version, pair.Leaf.DNSNames, pair.Leaf.NotBefore.Unix(), pair.Leaf.NotAfter.Unix()})
		if err != nil {
			return err
		}
		fmt.Fprintf(verdicts, "yes %s\n", facts)
	}
}

func frame(from io.Reader) ([]byte, error) {
	var length uint32
	if err := binary.Read(from, binary.BigEndian, &length); err != nil {
		return nil, err
	}
	data := make([]byte, length)
	_, err := io.ReadFull(from, data)
	return data, err
}
