"""What is measured beside the gateway and knows nothing of keys: nobody at all, and three proxies."""

import shutil

from .processes import Failed, Process, free_port, listens
from .stage import Stage

PROCESSORS = 2


class System:
    """Something that is asked: where, with what headers, and whose time counts."""

    #: Whether its answers are the provider's byte for byte.
    exact = True
    #: How many times longer than others' its turns are, where it is so slow that few answers come.
    patience = 1
    tls = False

    def __init__(self, name: str, stage: Stage):
        self.name, self.stage = name, stage
        self.path, self.headers = "/v1/chat/completions", [f"authorization: Bearer {stage.key}"]
        self.process: Process | None = None
        #: Other servers that work for it: by name.
        self.helpers: dict[str, Process] = {}

    def start(self) -> None:
        raise NotImplementedError

    def pids(self) -> list[int]:
        return self.process.pids() if self.process else []

    def more_flags(self, case, seconds: float) -> list:
        """What the load generator is told beyond that, for a turn that takes so long."""
        return []


class Direct(System):
    """The provider itself: what the load generator and it can do."""

    def start(self) -> None:
        self.port = self.stage.provider().port

    def pids(self) -> list[int]:
        return self.stage.provider().pids()


class Nginx(System):
    def start(self) -> None:
        program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/sbin")
        if not program:
            raise Failed("nginx is not installed (Debian: nginx)")
        self.port = free_port()
        folder = self.stage.folder / "nginx"
        (folder / "temp").mkdir(parents=True)
        temps = "\n".join(f"    {name}_temp_path {folder}/temp/{name};"
                          for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (folder / "nginx.conf").write_text(f"""\
worker_processes {PROCESSORS};
worker_rlimit_nofile {self.stage.most_files};
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections {self.stage.most_files - 100}; }}
http {{
    access_log off;
{temps}
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_max_body_size 64m;
    upstream provider {{
        server 127.0.0.1:{self.stage.provider().port};
        keepalive 512;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen 127.0.0.1:{self.port} backlog=4096;
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_read_timeout 1h;
        }}
    }}
}}
""")
        self.process = self.stage.start("nginx", [program, "-p", folder, "-c", folder / "nginx.conf"], folder=folder)
        self.process.wait_for(lambda: listens(self.port))


class HAProxy(System):
    def start(self) -> None:
        program = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/sbin")
        if not program:
            raise Failed("haproxy is not installed (Debian: haproxy)")
        self.port = free_port()
        config = self.stage.folder / "haproxy.cfg"
        config.write_text(f"""\
global
    nbthread {PROCESSORS}
    maxconn {(self.stage.most_files - 200) // 2}
defaults
    mode http
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend in
    bind 127.0.0.1:{self.port} backlog 4096
    default_backend provider
backend provider
    option http-no-delay
    server provider 127.0.0.1:{self.stage.provider().port} pool-max-conn -1 pool-purge-delay 1h
""")
        self.process = self.stage.start("haproxy", [program, "-db", "-f", config])
        self.process.wait_for(lambda: listens(self.port))


class Hyper(System):
    """The plain proxy of `bench/proxy`."""

    def start(self) -> None:
        to = f"127.0.0.1:{self.stage.provider().port}"
        self.process = self.stage.start("hyper", [self.stage.tools / "bench-proxy", to], says_port=True)
        self.port = self.process.port
