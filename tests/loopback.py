"""What the small servers of the tests share: a thread that answers on loopback while a `with` block runs."""

import threading
from http.server import ThreadingHTTPServer


class Loopback:
    """Answers with `handler`, whose `server` has this object under `name`, on `port` or any that is free."""

    def __init__(self, handler, name, port=0):
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        setattr(self._server, name, self)

    def __enter__(self):
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
