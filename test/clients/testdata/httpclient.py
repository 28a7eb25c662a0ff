"""Asks for what standard input lists over one connection of http.client."""

import base64
import http.client
import json
import ssl
import sys

task = json.load(sys.stdin)
trust = ssl.create_default_context(cafile=task["ca"])
connection = http.client.HTTPSConnection(task["host"], task["port"], context=trust, timeout=30)
sockets = []
answers = []
for request in task["requests"]:
    connection.request(request["method"], request["path"], body=request["body"] or None, headers=request["header"])
    if connection.sock is not None and connection.sock not in sockets:
        sockets.append(connection.sock)
    response = connection.getresponse()
    header = {}
    for name, value in response.getheaders():
        header.setdefault(name.lower(), []).append(value)
    answers.append(
        {
            "status": response.status,
            "header": header,
            "body": base64.b64encode(response.read()).decode(),
        }
    )
protocol = {10: "HTTP/1.0", 11: "HTTP/1.1"}[response.version]
json.dump({"connections": len(sockets), "protocol": protocol, "answers": answers}, sys.stdout)
