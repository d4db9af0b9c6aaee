"""Runs on a member of etcd as long as its standard input is open: asks the member, line by line, and says what it said.

python3 -c SOURCE MEMBER USER PASSWORD PATIENCE

A line in is JSON, {"path": ..., "body": ...} of the gateway (rpc.proto); a line out its answer, or {"error": ...} when
there was none within PATIENCE seconds. One login and one connection serve all of them: etcdctl, which makes both anew
for each question, took 1.5 to 2.7 s while another lab was being deployed, where this takes 0.05 to 0.1 s.
"""

import http.client
import json
import ssl
import sys
import time
from typing import Any

member, user, password, patience = sys.argv[1:5]
TLS = "/etc/holdfast/tls"
context = ssl.create_default_context(cafile=f"{TLS}/ca.pem")
context.load_cert_chain(f"{TLS}/{member}.pem", f"{TLS}/{member}.key")
connection = http.client.HTTPSConnection("127.0.0.1", 2379, timeout=10, context=context)
token: str | None = None


def post(path: str, body: Any) -> Any:
    # Without an Accept header the gateway acts as whom the member's certificate names.
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = token
    connection.request("POST", f"/v3{path}", json.dumps(body), headers)
    response = connection.getresponse()
    text = response.read().decode()
    if response.status != http.client.OK:
        raise OSError(f"{response.status} {text[:200]}")
    return json.loads(text)


for line in sys.stdin:
    asked = json.loads(line)
    deadline = time.monotonic() + float(patience)
    while True:
        try:
            if token is None:
                token = post("/auth/authenticate", {"name": user, "password": password})["token"]
            answer = post(asked["path"], asked["body"])
            break
        except (OSError, http.client.HTTPException) as why:
            connection.close()
            token, answer = None, {"error": f"{type(why).__name__}: {why}"}
            if time.monotonic() >= deadline:
                break
            time.sleep(0.5)
    print(json.dumps(answer), flush=True)
