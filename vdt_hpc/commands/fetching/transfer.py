"""One attempt to get a file over HTTP: from where an earlier one ended, if the server still has the same file."""

import contextlib
import http.client
import re
import ssl
import urllib.error
import urllib.request
from contextlib import AbstractContextManager
from http.client import HTTPResponse

from vdt_hpc import files
from vdt_hpc.commands.fetching import cache
from vdt_hpc.commands.fetching.part import Part
from vdt_hpc.progress import Progress

SILENCE_S = 30.0
"""A server that says nothing for so long is taken as gone."""
CHUNK_BYTES = 1 << 18
_AGAIN = {408, 425, 429}
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class Interrupted(Exception):
    """It did not work this time; another attempt may."""


class Refused(Exception):
    """It will not work at this address."""


def transfer(url: str, part: Part, size_bytes: int | None, what: str) -> None:
    """Bring an unfinished file to its end.

    Args:
        url: where the file is; redirections are followed, proxies are those of the environment.
        part: the unfinished file; what it holds so far is gone on with, if it is known to be a beginning of this file.
        size_bytes: size of the file, if it is known.
        what: what is fetched, for messages.

    Raises:
        Interrupted: network or server failed; what has come is in the unfinished file.
        Refused: the server has no such file, or one of another size.
        UserError: the disk is full or the folder cannot be written.
    """
    offset, version = part.num_bytes(), part.version(url)
    if version is not None and offset == size_bytes:
        return  # all there: an earlier process ended before it could verify it
    if version is None or (size_bytes is not None and offset > size_bytes):
        offset = 0
    request = urllib.request.Request(url, headers={"User-Agent": "vdt-hpc", "Accept-Encoding": "identity"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
        request.add_header("If-Range", str(version))
    with _open(request, part) as response:
        start, total = _extent(response)
        if size_bytes is not None and total not in (None, size_bytes):
            raise Refused(f"the file there has {total:,} bytes, not {size_bytes:,}")
        if start and _version(response) not in (None, version):  # a server that does not heed If-Range
            start = -1
        if start != offset and response.status == http.client.PARTIAL_CONTENT:
            part.clear()
            raise Interrupted("the file has changed there; it is fetched from its beginning")
        if not start:
            part.begin(url, _version(response))
        total = size_bytes if total is None else total
        if total is None and not response.chunked:
            raise Refused("the server does not say how large the file is, so that its end cannot be told")
        if total is not None:
            cache.require_space(part.path.parent, total - start, what)
        _receive(response, part, total, what)


def _open(request: urllib.request.Request, part: Part) -> AbstractContextManager[HTTPResponse]:
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())  # some redirections want them back
    try:
        response = opener.open(request, timeout=SILENCE_S)
    except urllib.error.HTTPError as error:
        error.close()
        said = f"HTTP {error.code} {_line(error.reason)}"
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.clear()  # longer than the file there
            raise Interrupted(said) from None
        if error.code >= http.client.INTERNAL_SERVER_ERROR or error.code in _AGAIN:
            raise Interrupted(said) from None
        raise Refused(said) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise Refused(f"its certificate is not trusted ({error.reason.verify_message})") from None
        raise Interrupted(f"no connection ({_line(error.reason)})") from None
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(f"no connection ({_line(error)})") from None
    except ValueError as error:  # addresses, of proxies too, that are none
        raise Refused(f"the address cannot be used ({_line(error)})") from None
    if not isinstance(response, HTTPResponse):
        raise Refused("it leads to an address that is not HTTP")
    return contextlib.closing(response)


def _extent(response: HTTPResponse) -> tuple[int, int | None]:
    """First byte that a response holds (-1: it does not say) and size of the whole file, if it is told."""
    if response.status == http.client.PARTIAL_CONTENT:
        said = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if said is None:
            return -1, None
        return int(said[1]), None if said[2] == "*" else int(said[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _version(response: HTTPResponse) -> str | None:
    """What tells this version of a file from others, as If-Range takes it (RFC 9110, 13.1.5)."""
    tag = response.headers.get("ETag")
    if tag and not tag.startswith("W/"):
        return tag
    return response.headers.get("Last-Modified")


def _receive(response: HTTPResponse, part: Part, total: int | None, what: str) -> None:
    come = part.num_bytes()
    bar = Progress(f"fetch {what}", total, "bytes", done=come) if total is not None else contextlib.nullcontext()
    with files.explained(part.path), part.path.open("ab") as file, bar as progress:
        while chunk := _read(response):
            come += len(chunk)
            if total is not None and come > total:
                raise Refused(f"more bytes come than the {total:,} of the file")
            file.write(chunk)
            if progress is not None:
                progress.advance(len(chunk))
    if total is not None and come < total:
        raise Interrupted(f"the connection ended after {come:,} of {total:,} bytes")


def _read(response: HTTPResponse) -> bytes:
    """Some bytes, as they come; none at the end."""
    try:
        return response.read1(CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(f"the connection broke ({_line(error)})") from None


def _line(error: object) -> str:
    said = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return str(said)[:160]
