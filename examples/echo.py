"""A small TCP server that greets first, as databases do, and then sends back every line.

Run by examples/demo.yaml; the port is the only argument.
"""

import os
import signal
import socket
import sys
import threading


def serve(connection):
    with connection, connection.makefile("rwb") as lines:
        lines.write(f"ready, process {os.getpid()}\n".encode())
        lines.flush()
        for line in lines:
            lines.write(line)
            lines.flush()


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    client, _ = server.accept()
    threading.Thread(target=serve, args=(client,), daemon=True).start()
