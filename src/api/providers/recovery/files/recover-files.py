#!/usr/bin/env python3
"""Looks into a recovery point of Holdfast and brings files out. Needs Python 3.4 or later and nothing else.

    python3 THIS ls [PATH]             what is there; without a path the volumes
    python3 THIS get PATH [FOLDER]     a file, or a folder with all that is in it, into FOLDER (default: here)
    python3 THIS cat PATH              a file to stdout
    python3 THIS tar PATH > a.tar      a file or folder as an archive to stdout
    python3 THIS zip PATH > a.zip      the same as zip
    python3 THIS shell                 asks for commands: ls, cd, get, cat, quit

A path begins with a volume: /osp1/etc/fstab. The password is asked for; or give it as HOLDFAST_PASSWORD.
Nothing is mounted, nothing of the guest runs, nothing that is here is replaced. Links are kept as links, never followed.
"""
import base64
import getpass
import http.client
import json
import os
import shlex
import ssl
import sys
import tarfile
import time
from urllib.parse import quote, urlsplit

TargetPassword="@PASSWORD@"
PLACEHOLDER = "UserInput" + "012345"
ENDPOINT = "@ENDPOINT@"
SESSION = "@SESSION@"
POINT = "@POINT@"
EXPIRES = "@EXPIRES@"
AUTHORITY = """@AUTHORITY@"""


class Refused(Exception):
    pass


def password():
    if TargetPassword != PLACEHOLDER:
        return TargetPassword
    given = os.environ.get("HOLDFAST_PASSWORD")
    return given if given else getpass.getpass("Password of the recovery point: ")


class Point(object):
    """The recovery point behind its session: one request, one connection."""

    def __init__(self, secret):
        token = base64.b64encode((SESSION + ":" + secret).encode("utf-8")).decode("ascii")
        self.headers = {"Authorization": "Basic " + token}
        self.context = ssl.create_default_context(cadata=AUTHORITY) if AUTHORITY.strip() else ssl.create_default_context()

    def ask(self, what, path):
        url = urlsplit(ENDPOINT)
        connection = http.client.HTTPSConnection(url.hostname, url.port or 443, timeout=120, context=self.context)
        connection.request("GET", "/recovery-files/%s/%s?path=%s" % (SESSION, what, quote(path)), headers=self.headers)
        answer = connection.getresponse()
        if answer.status == 200:
            return answer
        try:
            error = json.loads(answer.read().decode("utf-8"))["error"]
            raise Refused("%s: %s" % (error["code"], error["message"]))
        except (ValueError, KeyError):
            raise Refused("The server answered with the status %d." % answer.status)

    def list(self, path):
        return json.loads(self.ask("list", path).read().decode("utf-8"))


def shown(text):
    return "".join(c if c.isprintable() else "?" for c in text)


def show(listing):
    entries = listing["entries"] if listing["entry"]["kind"] == "folder" else [listing["entry"]]
    for note in listing["notes"]:
        print("Note: " + shown(note), file=sys.stderr)
    for entry in entries:
        when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(entry["modifiedMs"] / 1000.0)) if entry["modifiedMs"] else "-"
        about = shown(entry["name"]) + ("/" if entry["kind"] == "folder" else "")
        if entry.get("linkTarget"):
            about += " -> " + shown(entry["linkTarget"])
        if entry.get("fileSystem"):
            about += "   " + entry["fileSystem"] + " " + shown(entry.get("label", ""))
        if entry.get("note"):
            about += "   " + shown(entry["note"])
        print("%-8s %6s:%-6s %14d  %16s  %s" % (entry["kind"], entry["userId"], entry["groupId"], entry["sizeBytes"], when, about))


def copy(answer, out):
    """All of the answer, or an error: one that is cut off is not taken for a whole one."""
    expected = answer.getheader("Content-Length")
    done = 0
    while True:
        piece = answer.read(1 << 20)
        if not piece:
            break
        out.write(piece)
        done += len(piece)
    if expected is not None and done != int(expected):
        raise Refused("The connection broke after %d of %s bytes." % (done, expected))


def get_file(point, path, folder, name):
    target = os.path.join(folder, name)
    draft = target + ".part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    if os.path.lexists(target):
        raise Refused("%s exists already; nothing is replaced." % target)
    with os.fdopen(os.open(draft, flags, 0o600), "wb") as out:
        try:
            copy(point.ask("get", path), out)
            out.flush()
            os.fsync(out.fileno())
        except BaseException:
            os.unlink(draft)
            raise
    os.rename(draft, target)
    print(target)


def inside(folder, name):
    """Where a member of an archive is put. The guest is not trusted: every step must be a plain one, and no link may be on the way."""
    steps = [step for step in name.split("/") if step]
    if not steps or any(step in (".", "..") or "\0" in step for step in steps):
        raise Refused("The name %r leads out of the folder." % name)
    at = folder
    for step in steps[:-1]:
        at = os.path.join(at, step)
        if os.path.islink(at):
            raise Refused("%s is a link: nothing is written through it." % at)
    return os.path.join(at, steps[-1])


def get_folder(point, path, folder):
    folders = []
    with tarfile.open(fileobj=point.ask("tar", path), mode="r|") as archive:
        for member in archive:
            target = inside(folder, member.name)
            if member.isdir():
                if not os.path.isdir(target) or os.path.islink(target):
                    os.mkdir(target, 0o700)
                folders.append((target, member))
            elif member.issym():
                os.symlink(member.linkname, target)
            elif member.isreg():
                with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                    source = archive.extractfile(member)
                    while True:
                        piece = source.read(1 << 20)
                        if not piece:
                            break
                        out.write(piece)
                finish(target, member)
    for target, member in reversed(folders):
        finish(target, member)
    print(folder)


def finish(target, member):
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        os.chown(target, member.uid, member.gid)
    os.chmod(target, member.mode & 0o1777)
    os.utime(target, (member.mtime, member.mtime))


def get(point, path, folder):
    entry = point.list(path)["entry"]
    if not os.path.isdir(folder):
        os.makedirs(folder)
    if entry["kind"] == "file":
        get_file(point, path, folder, os.path.basename(path.rstrip("/")))
    else:
        get_folder(point, path, folder)


def joined(here, path):
    if path.startswith("/"):
        here = "/"
    steps = [step for step in here.split("/") if step]
    for step in path.split("/"):
        if step == "..":
            steps = steps[:-1]
        elif step not in ("", "."):
            steps.append(step)
    return "/" + "/".join(steps)


def shell(point):
    here = "/"
    print("Recovery point %s, open until %s. Commands: ls, cd, get, cat, quit." % (POINT, EXPIRES))
    while True:
        try:
            words = shlex.split(input(shown(here) + "> "))
        except EOFError:
            return
        except ValueError as error:
            print(error, file=sys.stderr)
            continue
        if not words:
            continue
        if words[0] in ("quit", "exit"):
            return
        path = joined(here, words[1]) if len(words) > 1 else here
        try:
            if words[0] == "cd":
                if point.list(path)["entry"]["kind"] != "folder":
                    raise Refused("%s is no folder." % path)
                here = path
            else:
                run(point, words[0], path, words[2:])
        except (Refused, OSError, tarfile.TarError) as error:
            print(error, file=sys.stderr)


def run(point, what, path, rest):
    if what == "ls":
        show(point.list(path))
    elif what == "get":
        get(point, path, rest[0] if rest else ".")
    elif what == "cat":
        copy(point.ask("get", path), sys.stdout.buffer)
        sys.stdout.buffer.flush()
    elif what in ("tar", "zip"):
        copy(point.ask(what, path), sys.stdout.buffer)
        sys.stdout.buffer.flush()
    else:
        raise Refused("There is no command %s. See --help." % what)


def main(words):
    if words and words[0] in ("-h", "--help", "help"):
        print(__doc__)
        return 0
    what = words[0] if words else "shell"
    if what in ("get", "cat", "tar", "zip") and len(words) < 2:
        print("Name the file or folder: %s PATH" % what, file=sys.stderr)
        return 2
    try:
        point = Point(password())
        if what == "shell":
            shell(point)
        else:
            run(point, what, words[1] if len(words) > 1 else "/", words[2:])
        return 0
    except KeyboardInterrupt:
        return 130
    except ssl.SSLError as error:
        print("The server is not the one that this script was made by: %s" % error, file=sys.stderr)
        return 1
    except (Refused, OSError, tarfile.TarError, http.client.HTTPException) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
