import pytest
import stage


def _http_clients():
    """The HTTP clients beneath the SDKs: httpx2, and httpx where a generation still uses it."""
    for module in ("httpx2", "httpx"):
        try:
            http = __import__(module)
        except ImportError:
            continue
        yield http.Client
        yield http.AsyncClient


def _note(wire, request):
    headers = {name.lower(): value for name, value in request.headers.items()}
    sent = stage.Sent(request.method, str(request.url), headers, request.content)
    wire.sent.append(sent)
    return sent


def _watch(client, wire, monkeypatch):
    original = client.send
    if client.__name__.startswith("Async"):
        async def send(self, request, **options):
            await request.aread()
            sent = _note(wire, request)
            response = await original(self, request, **options)
            sent.answer = {name.lower(): value for name, value in response.headers.items()}
            return response
    else:
        def send(self, request, **options):
            request.read()
            sent = _note(wire, request)
            response = original(self, request, **options)
            sent.answer = {name.lower(): value for name, value in response.headers.items()}
            return response
    monkeypatch.setattr(client, "send", send)


@pytest.fixture
def wire(monkeypatch):
    wire = stage.Wire()
    for client in _http_clients():
        _watch(client, wire, monkeypatch)
    return wire


@pytest.fixture(params=stage.MODES, ids=lambda mode: mode.name)
def mode(request):
    return request.param


def pytest_collection_modifyitems(items):
    if stage.DIRECT:
        skip = pytest.mark.skip(reason="needs the gateway")
        for item in items:
            if item.get_closest_marker("gateway"):
                item.add_marker(skip)


def pytest_configure(config):
    config.addinivalue_line("markers", "gateway: needs keyferry between the SDK and the mock provider")
