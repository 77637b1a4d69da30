"""nginx with the project's configuration, in front of a site of a test."""

import shutil
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from tests.support.servers import ROOT, find_program, free_port

NGINX_HINT = "nginx is not installed: install the package nginx-light to run this."
NAME = "faces.example.org"
MAIN = """
worker_processes 1;
daemon off;
error_log stderr warn;
pid {folder}/nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


def find_nginx() -> str | None:
    return find_program("nginx") or next(iter(map(str, Path("/usr/sbin").glob("nginx"))), None)


class Nginx:
    """A server with a self-signed certificate. site: HOST:PORT of the site."""

    def __init__(self, site: str) -> None:
        program = find_nginx()
        assert program, NGINX_HINT
        self.folder = Path(tempfile.mkdtemp(prefix="diffusionreward-nginx-"))
        self.http, self.https = free_port(), free_port()
        self._certify()
        (self.folder / "site.conf").write_text(self._configuration(site))
        (self.folder / "nginx.conf").write_text(MAIN.format(folder=self.folder))
        self.log = self.folder / "log"
        self.process = subprocess.Popen(
            [program, "-p", self.folder, "-e", "stderr", "-c", self.folder / "nginx.conf"], stderr=self.log.open("wb")
        )
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.https)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError(self.log.read_text())

    def _certify(self) -> None:
        subject = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
        files = ["-keyout", self.folder / "privkey.pem", "-out", self.folder / "fullchain.pem"]
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        subprocess.run(["openssl", "req", "-x509", *key, *subject, *files], check=True, stderr=subprocess.DEVNULL)

    def _configuration(self, site: str) -> str:
        """Return the project's file with the values of this test."""
        text = (ROOT / "deploy" / "nginx.conf.template").read_text()
        values = {
            "${SITE}": site, "${SERVER_NAME}": NAME, "/etc/nginx/tls": str(self.folder),
            "listen 80;": f"listen 127.0.0.1:{self.http};", "listen [::]:80;": "",
            "listen 443 ssl http2;": f"listen 127.0.0.1:{self.https} ssl http2;", "listen [::]:443 ssl http2;": "",
        }  # fmt: skip
        for name, value in values.items():
            assert name in text, name
            text = text.replace(name, value)
        return text

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)


class Relay:
    """Passes connections on to a port, and keeps what arrived first on each."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.heads: list[bytes] = []
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listening.accept()
                site = socket.create_connection(("127.0.0.1", self.target))
                threading.Thread(target=self._pass_on, args=(client, site, True), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(site, client, False), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, keep: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if keep:
                    self.heads.append(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.listening.close()
