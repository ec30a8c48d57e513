#!/usr/bin/env python3
"""Says of many certificates and keys whether servers that use OpenSSL take them; frames and lines as in main.go.

It makes the calls that nginx makes for `ssl_certificate` and `ssl_certificate_key`, in the library that python3's own `ssl`
module is linked to. The security level is 0: which keys are too short is a server's setting, not a question of form.
"""

import ctypes
import functools
import ssl
import struct
import sys

NO_START_LINE = 108  # of ERR_LIB_PEM
ERR_LIB_PEM = 9

libssl = ctypes.CDLL(f"libssl.so.{ssl.OPENSSL_VERSION_INFO[0]}")
libcrypto = ctypes.CDLL(f"libcrypto.so.{ssl.OPENSSL_VERSION_INFO[0]}")
PASSWORD = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
NO_PASSWORD = PASSWORD(lambda *_: 0)  # a server has nobody to ask


def function(library, name, result, *arguments):
    found = getattr(library, name)
    found.restype, found.argtypes = result, arguments
    return found


P, INT = ctypes.c_void_p, ctypes.c_int
method = function(libssl, "TLS_server_method", P)
new_context = function(libssl, "SSL_CTX_new", P, P)
free_context = function(libssl, "SSL_CTX_free", None, P)
set_security_level = function(libssl, "SSL_CTX_set_security_level", None, P, INT)
use_certificate = function(libssl, "SSL_CTX_use_certificate", INT, P, P)
use_key = function(libssl, "SSL_CTX_use_PrivateKey", INT, P, P)
check_key = function(libssl, "SSL_CTX_check_private_key", INT, P)
memory = function(libcrypto, "BIO_new_mem_buf", P, ctypes.c_char_p, INT)
free_memory = function(libcrypto, "BIO_free", INT, P)
read_leaf = function(libcrypto, "PEM_read_bio_X509_AUX", P, P, P, P, P)
read_certificate = function(libcrypto, "PEM_read_bio_X509", P, P, P, P, P)
free_certificate = function(libcrypto, "X509_free", None, P)
read_key = function(libcrypto, "PEM_read_bio_PrivateKey", P, P, P, PASSWORD, P)
free_key = function(libcrypto, "EVP_PKEY_free", None, P)
last_code = function(libcrypto, "ERR_peek_last_error", ctypes.c_ulong)
clear_errors = function(libcrypto, "ERR_clear_error", None)
error_text = function(libcrypto, "ERR_error_string_n", None, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_size_t)


class Read:
    """What the library made of a file: an object that it frees again, or why there is none."""

    def __init__(self, found, free, why=None):
        self.found, self.free, self.why = found, free, why

    def __del__(self):
        if self.found:
            self.free(self.found)


def refusal(certificate, key):
    """Why the pair is refused; nothing where it is taken."""
    leaf = leaf_of(certificate)
    if leaf.why:
        return leaf.why
    private = key_of(key)
    if private.why:
        return private.why
    context = Read(new_context(method()), free_context)
    set_security_level(context.found, 0)
    clear_errors()
    if use_certificate(context.found, leaf.found) != 1:
        return "use leaf: " + last_error()
    if use_key(context.found, private.found) != 1:
        return "use key: " + last_error()
    return None if check_key(context.found) == 1 else "check: " + last_error()


# Most pairs differ from the one before in one of the two files only.


@functools.lru_cache(maxsize=256)
def leaf_of(data):
    clear_errors()
    source = Read(memory(data, len(data)), free_memory)
    leaf = Read(read_leaf(source.found, None, None, None), free_certificate)
    if not leaf.found:
        return Read(None, None, "leaf: " + last_error())
    while issuer := read_certificate(source.found, None, None, None):
        free_certificate(issuer)
    code = last_code()
    if (code >> 23 & 0xFF, code & 0x7FFFFF) != (ERR_LIB_PEM, NO_START_LINE):
        return Read(None, None, "chain: " + last_error())
    return leaf


@functools.lru_cache(maxsize=256)
def key_of(data):
    clear_errors()
    source = Read(memory(data, len(data)), free_memory)
    key = read_key(source.found, None, NO_PASSWORD, None)
    return Read(key, free_key, None if key else "key: " + last_error())


def last_error():
    text = ctypes.create_string_buffer(256)
    error_text(last_code(), text, len(text))
    return text.value.decode(errors="replace")


def frame():
    head = sys.stdin.buffer.read(4)
    if not head:
        return None
    return sys.stdin.buffer.read(struct.unpack(">I", head)[0])


def main():
    while (certificate := frame()) is not None:
        why = refusal(certificate, frame())
        sys.stdout.write("yes\n" if why is None else f"no {why!r}\n")


if __name__ == "__main__":
    main()
