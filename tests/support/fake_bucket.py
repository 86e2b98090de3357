"""A server of this machine that answers as Google Cloud Storage does, with buckets in memory.

    python -m tests.support.fake_bucket

Three clients speak to a bucket. Those of google-cloud-storage and of TensorStore take another
address from the environment. TensorFlow's knows one host name alone, so that this server is also
a proxy for HTTPS, which answers in the place of that host with a certificate of its own.
"""

import argparse
import base64
import dataclasses
import hashlib
import http.server
import json
import os
import pathlib
import re
import shlex
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

RIGHTS = (
    "storage.buckets.get",
    "storage.objects.create",
    "storage.objects.delete",
    "storage.objects.get",
    "storage.objects.list",
)
PAGE = 50
"""The most names in one answer to a listing, so that clients must ask for the next page."""

_HOSTS = ("www.googleapis.com", "storage.googleapis.com")
_OBJECT = re.compile(r"/(?:download/)?storage/v1/b/([^/]+)/o/(.+)")


@dataclasses.dataclass(frozen=True)
class _Object:
    data: bytes
    generation: int
    updated: str


class FakeBucket:
    """Buckets in memory, served on the loopback; a context manager.

    Attributes:
        rights: what every client may do; others of `RIGHTS` are refused.
        objects: by bucket, then by name. A bucket that is not there is refused.
        writes: the names of all objects that were written, in order.
    """

    def __init__(self, *buckets: str):
        self.rights = set(RIGHTS)
        self.objects: dict[str, dict[str, _Object]] = {bucket: {} for bucket in buckets}
        self.writes: list[str] = []
        self.lock = threading.RLock()
        self.uploads: dict[str, dict[str, Any]] = {}
        self._generation = 0
        self._folder = tempfile.TemporaryDirectory()
        self.context = _certificate(pathlib.Path(self._folder.name))
        server = type("Server", (http.server.ThreadingHTTPServer,), {"daemon_threads": True})
        self._server = server(("127.0.0.1", 0), _Handler)
        self._server.store = self
        self.address = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "FakeBucket":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._folder.cleanup()

    def environment(self) -> dict[str, str]:
        """What leads the clients of a command here."""
        return {
            "STORAGE_EMULATOR_HOST": f"http://{self.address}",
            "TENSORSTORE_GCS_HTTP_URL": f"http://{self.address}",
            "https_proxy": f"http://{self.address}",
            "no_proxy": "127.0.0.1,localhost",
            "CURL_CA_BUNDLE": f"{self._folder.name}/certificate.pem",
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "anyone",
        }

    def put(self, bucket: str, name: str, data: bytes, age: float = 0) -> dict[str, Any]:
        """Writes an object, as if so many seconds ago."""
        with self.lock:
            self._generation += 1
            updated = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - age))
            self.objects[bucket][name] = _Object(data, self._generation, updated)
            self.writes.append(name)
            return self.resource(bucket, name)

    def resource(self, bucket: str, name: str) -> dict[str, Any]:
        there = self.objects[bucket][name]
        return {
            "kind": "storage#object",
            "name": name,
            "bucket": bucket,
            "size": str(len(there.data)),
            "generation": str(there.generation),
            "metageneration": "1",
            "updated": there.updated,
            "timeCreated": there.updated,
            "md5Hash": base64.b64encode(hashlib.md5(there.data).digest()).decode(),
        }

    def put_folder(self, folder: pathlib.Path, bucket: str, name: str) -> None:
        """Writes the files of a folder as objects below a name."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.put(bucket, f"{name}/{path.relative_to(folder)}", path.read_bytes())

    def files(self, prefix: str = "") -> dict[str, bytes]:
        """What lies in all buckets below a prefix, BUCKET/NAME, without marks of folders."""
        with self.lock:
            return {
                f"{bucket}/{name}": there.data
                for bucket, objects in self.objects.items()
                for name, there in objects.items()
                if f"{bucket}/{name}".startswith(prefix) and not name.endswith("/")
            }


def _certificate(folder: pathlib.Path) -> ssl.SSLContext:
    """A certificate for Google's hosts, which nobody trusts who is not told to."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    names = ",".join(f"DNS:{host}" for host in _HOSTS)
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    words += ["-keyout", str(key), "-out", str(certificate), "-subj", f"/CN={_HOSTS[0]}"]
    words += ["-addext", f"subjectAltName={names}"]
    subprocess.run(words, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


class _Refused(Exception):
    """An answer that is an error: its status, and what it says."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def store(self) -> FakeBucket:
        return self.server.store

    def log_message(self, *_) -> None:
        pass

    def do_CONNECT(self) -> None:
        """Goes on with the same client in the place of the host that it asked for."""
        if self.path.rpartition(":")[0] not in _HOSTS:
            self.send_error(502)
            return
        self.send_response(200)
        self.end_headers()
        self.connection = self.store.context.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb", self.rbufsize)
        self.wfile = self.connection.makefile("wb", 0)
        self.close_connection = False

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_PUT(self) -> None:
        self._answer(self._put)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def _answer(self, method: Callable) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = b"".join(iter(self._chunk, b""))
        else:
            self.body = self.rfile.read(length)
        parts = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        self.rights_asked = [v for k, v in urllib.parse.parse_qsl(parts.query) if k[:4] == "perm"]
        try:
            with self.store.lock:
                method(parts.path)
        except _Refused as error:
            status, message = error.args
            body = {"error": {"code": status, "message": message}}
            self._send(status, body if status >= 400 else None)

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline(), 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def _send(self, status: int, body: Any = None, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if not isinstance(body, bytes):
            self.send_header("Content-Type", "application/json; charset=UTF-8")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def _needs(self, *rights: str) -> None:
        for right in rights:
            if f"storage.{right}" not in self.store.rights:
                raise _Refused(403, f"anyone does not have storage.{right} access")

    def _bucket(self, name: str) -> dict[str, _Object]:
        if name not in self.store.objects:
            raise _Refused(404, "The specified bucket does not exist.")
        return self.store.objects[name]

    def _object(self, bucket: str, name: str) -> _Object:
        objects = self._bucket(bucket)
        if name not in objects:
            raise _Refused(404, f"No such object: {bucket}/{name}")
        return objects[name]

    def _check_generation(self, bucket: str, name: str) -> None:
        there = self._bucket(bucket).get(name)
        generation = str(there.generation if there else 0)
        if self.query.get("ifGenerationMatch", generation) != generation:
            raise _Refused(412, "At least one of the pre-conditions you specified did not hold.")
        if self.query.get("ifGenerationNotMatch") == generation:
            raise _Refused(304, "Not modified")

    def _get(self, path: str) -> None:
        if found := _OBJECT.fullmatch(path):
            self._needs("objects.get")
            bucket, name = map(urllib.parse.unquote, found.groups())
            self._object(bucket, name)
            self._check_generation(bucket, name)
            if self.query.get("alt") == "media" or path.startswith("/download/"):
                self._media(bucket, name)
            else:
                self._send(200, self.store.resource(bucket, name))
        elif found := re.fullmatch(
            r"/storage/v1/b/([^/]+)(/o|/iam/testPermissions|/storageLayout|)", path
        ):
            bucket, what = urllib.parse.unquote(found[1]), found[2]
            if what == "/o":
                self._needs("objects.list")
                self._send(200, self._listing(bucket))
            elif what == "/storageLayout":
                self._bucket(bucket)
                self._send(200, {"bucket": bucket, "hierarchicalNamespace": {"enabled": False}})
            elif what:
                self._bucket(bucket)
                allowed = [right for right in self.rights_asked if right in self.store.rights]
                self._send(200, {"permissions": allowed})
            else:
                self._needs("buckets.get")
                self._bucket(bucket)
                self._send(200, {"kind": "storage#bucket", "name": bucket, "location": "HERE"})
        else:  # the older form of an address, by which TensorFlow reads
            self._needs("objects.get")
            bucket, _, name = urllib.parse.unquote(path).lstrip("/").partition("/")
            self._object(bucket, name)
            self._media(bucket, name)

    def _media(self, bucket: str, name: str) -> None:
        there = self._object(bucket, name)
        headers = {"x_goog_generation": str(there.generation)}
        total = len(there.data)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not wanted:
            self._send(200, there.data, **headers)
            return
        first = int(wanted[1])
        last = min(int(wanted[2] or total - 1), total - 1)
        if first >= total:
            self._send(416, b"", Content_Range=f"bytes */{total}")
            return
        headers["Content_Range"] = f"bytes {first}-{last}/{total}"
        self._send(206, there.data[first : last + 1], **headers)

    def _listing(self, bucket: str) -> dict[str, Any]:
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
        first = self.query.get("startOffset", "")
        found: dict[str, bool] = {}  # whether it is a folder
        for name in sorted(self._bucket(bucket)):
            if not name.startswith(prefix) or name < first:
                continue
            head, there, _ = name[len(prefix) :].partition(delimiter or "\0")
            found[prefix + head + delimiter if there else name] = bool(there)
        start = int(self.query.get("pageToken") or 0)
        most = min(PAGE, int(self.query.get("maxResults", PAGE)))
        page = list(found.items())[start : start + most]
        answer: dict[str, Any] = {
            "kind": "storage#objects",
            "items": [self.store.resource(bucket, name) for name, folder in page if not folder],
            "prefixes": [name for name, folder in page if folder],
        }
        if start + len(page) < len(found):
            answer["nextPageToken"] = str(start + len(page))
        return answer

    def _written(self, bucket: str, name: str, data: bytes) -> None:
        self._bucket(bucket)
        self._needs("objects.create")
        if name in self.store.objects[bucket]:
            self._needs("objects.delete")
        self._check_generation(bucket, name)
        self._send(200, self.store.put(bucket, name, data))

    def _post(self, path: str) -> None:
        if found := re.fullmatch(r"/upload/storage/v1/b/([^/]+)/o", path):
            self._upload(urllib.parse.unquote(found[1]))
        elif found := re.fullmatch(r"/storage/v1/b/([^/]+)/o/(.+)/(?:rewriteTo|copyTo)"
                                   r"/b/([^/]+)/o/(.+)", path):  # fmt: skip
            bucket, name, to_bucket, to_name = map(urllib.parse.unquote, found.groups())
            self._needs("objects.get", "objects.create")
            data = self._object(bucket, name).data
            self._bucket(to_bucket)
            self._check_generation(to_bucket, to_name)
            resource = self.store.put(to_bucket, to_name, data)
            rewritten = {"done": True, "resource": resource}
            self._send(200, rewritten if "rewriteTo" in path else resource)
        else:
            raise _Refused(404, "Not Found")

    def _upload(self, bucket: str) -> None:
        kind, name = self.query["uploadType"], self.query.get("name", "")
        if kind == "media":
            self._written(bucket, name, self.body)
        elif kind == "multipart":
            mark = self.headers["Content-Type"].partition("boundary=")[2].strip("\"'").encode()
            head, content = self.body.split(b"--" + mark)[1:3]
            about = json.loads(head.partition(b"\r\n\r\n")[2])
            data = content.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
            self._written(bucket, about["name"], data)
        else:
            self._needs("objects.create")
            self._bucket(bucket)
            name = name or json.loads(self.body)["name"]
            upload = hashlib.sha256(os.urandom(8)).hexdigest()
            self.store.uploads[upload] = {"bucket": bucket, "name": name, "data": b""} | self.query
            here = f"https://{_HOSTS[0]}" if isinstance(self.connection, ssl.SSLSocket) else (
                f"http://{self.store.address}")  # fmt: skip
            place = f"{here}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={upload}"
            self._send(200, Location=place)

    def _put(self, path: str) -> None:
        upload = self.store.uploads[self.query["upload_id"]]
        self.query = {k: v for k, v in upload.items() if isinstance(v, str)}
        part = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", self.headers.get("Content-Range", ""))
        if part:
            upload["data"] = upload["data"][: int(part[1])] + self.body
        elif self.body:
            upload["data"] = self.body
        if part and (part[3] == "*" or len(upload["data"]) < int(part[3])):
            self._send(308, Range=f"bytes=0-{len(upload['data']) - 1}")
        else:
            self._written(upload["bucket"], upload["name"], upload["data"])

    def _delete(self, path: str) -> None:
        self._needs("objects.delete")
        bucket, name = map(urllib.parse.unquote, _OBJECT.fullmatch(path).groups())
        self._object(bucket, name)
        self._check_generation(bucket, name)
        del self.store.objects[bucket][name]
        self._send(204)


def main() -> None:
    """Serves until it is stopped, and prints what leads a shell's commands here."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.fake_bucket")
    parser.add_argument("--bucket", default="faces", help="its name")
    with FakeBucket(parser.parse_args().bucket) as fake:
        for name, value in fake.environment().items():
            print(f"export {name}={shlex.quote(value)}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
