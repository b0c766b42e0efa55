"""All that a page can send, as JavaScript: to mint, to change, and to read what is answered."""

ATTACKS = """
async ([base, port]) => {
  const read = [];
  const paths = ["/auth", "/token", "/introspect", "/dev?action=resetkeys", "/dev?action=rotate"];
  const note = async (what, promise) => {
    try {
      const answer = await promise;
      if (answer && answer.type !== "opaque" && answer.type !== "opaqueredirect") {
        read.push([what, answer.status, await answer.text()]);
      }
    } catch (error) { /* the browser keeps it from us */ }
  };
  const form = () => {
    const data = new FormData();
    data.append("grant_type", "client_credentials");
    data.append("client_id", "page");
    data.append("action", "resetkeys");
    return data;
  };
  const bodies = {
    "none": () => undefined,
    "text": () => "grant_type=client_credentials&client_id=page",
    "form": () => new URLSearchParams(form()),
    "multipart": form,
    "blob": () => new Blob(["{}"], { type: "application/json" }),
    "typeless": () => new Uint8Array([123, 125]),
  };
  for (const path of paths) {
    const url = base + path;
    for (const mode of ["no-cors", "cors", "same-origin"]) {
      for (const [name, body] of Object.entries(bodies)) {
        for (const credentials of mode === "cors" ? ["omit", "include"] : ["include"]) {
          const what = `fetch ${mode} ${name} ${credentials} ${path}`;
          await note(what, fetch(url, { method: "POST", mode, credentials, body: body() }));
        }
      }
    }
    for (const method of ["PUT", "PATCH", "DELETE", "BREW"]) {
      await note(`${method} ${path}`, fetch(url, { method }));
    }
    for (const method of ["GET", "HEAD", "OPTIONS"]) {
      for (const mode of ["no-cors", "cors"]) {
        if (method === "OPTIONS" && mode === "no-cors") continue;
        await note(`${method} ${mode} ${path}`, fetch(url, { method, mode }));
      }
    }
    const fields = { "Authorization": "Basic cGFnZTpw", "Content-Type": "application/json" };
    await note(`preflight ${path}`, fetch(url, { method: "POST", headers: fields, body: "{}" }));
    await note(`keepalive ${path}`, fetch(url, { method: "POST", keepalive: true }));
    await note(`xhr ${path}`, new Promise((done, failed) => {
      const xhr = new XMLHttpRequest();
      xhr.open("POST", url);
      xhr.onload = () => done(new Response(xhr.responseText, { status: xhr.status }));
      xhr.onerror = failed;
      xhr.send("x");
    }));
    for (const type of ["text/plain", "application/x-www-form-urlencoded"]) {
      navigator.sendBeacon(url, new Blob(["client_id=page"], { type }));
    }
    navigator.sendBeacon(url);
    const bound = (wait) => new Promise((done) => { wait(done); setTimeout(done, 700); });
    const loaded = (element, parent) => bound((done) => {
      element.onload = element.onerror = done;
      parent.appendChild(element);
    });
    const submit = async (method, type) => {
      const frame = document.createElement("iframe");
      frame.name = `into ${method} ${type} ${path}`;
      await loaded(frame, document.body);
      const element = document.createElement("form");
      Object.assign(element, { action: url, method, enctype: type, target: frame.name });
      element.innerHTML = '<input name="client_id" value="p"><input name="expired" value="true">';
      document.body.appendChild(element);
      await bound((done) => { frame.onload = done; element.submit(); });
      try {
        const text = frame.contentDocument.body.innerText;
        if (text) read.push([frame.name, 0, text]);
      } catch (error) { /* of another origin */ }
    };
    const types = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];
    await Promise.all([
      ...types.map((type) => submit("post", type)),
      ...types.map((type) => submit("get", type)),
      ...["img", "script", "iframe", "embed"].map((name) => {
        const element = document.createElement(name);
        element.src = url;
        return loaded(element, document.body);
      }),
      loaded(Object.assign(document.createElement("link"), { rel: "stylesheet", href: url }),
        document.head),
    ]);
    await bound((done) => {
      const socket = new WebSocket(url.replace("http", "ws"));
      socket.onopen = () => { read.push([`socket ${path}`, 101, "open"]); done(); };
      socket.onerror = () => done();
    });
    await bound((done) => {
      const events = new EventSource(url);
      events.onopen = () => read.push([`events ${path}`, 200, "open"]);
      events.onerror = () => { events.close(); done(); };
    });
  }
  return read;
}
"""
"""Tries everything on the server at a base URL; returns what was read: what, status, text."""

MINT = """
async ([base]) => {
  const read = {};
  const ask = async (name, path, options) => {
    try {
      // Else a browser asks its user who to be when the answer is 401.
      const answer = await fetch(base + path, { ...options, credentials: "omit" });
      const fields = Object.fromEntries(answer.headers);
      read[name] = [answer.status, await answer.text(), fields];
    } catch (error) {
      read[name] = [0, String(error), {}];
    }
  };
  const json = { "Content-Type": "application/json" };
  const basic = { "Authorization": "Basic " + btoa("page:any") };
  const grant = new URLSearchParams({ grant_type: "client_credentials" });
  await ask("plain", "/auth", { method: "POST" });
  await ask("json", "/auth", { method: "POST", headers: json, body: '{"lifetime": 3000}' });
  await ask("token", "/token", { method: "POST", headers: basic, body: grant });
  await ask("400", "/auth?expired=maybe", { method: "POST" });
  await ask("401", "/token", { method: "POST", body: grant });
  await ask("405", "/auth", { method: "GET" });
  await ask("415", "/auth", { method: "POST", body: "x" });
  return read;
}
"""
"""What a page that is let in does; returns status, text and fields by name."""

READ = """
async ([base]) => {
  const read = {};
  for (const path of [
    "/.well-known/jwks.json", "/.well-known/openid-configuration",
    "/.well-known/" + "A".repeat(43) + ".json",
  ]) {
    for (const headers of [{}, { "Authorization": "Bearer x", "If-None-Match": '"x"' }]) {
      try {
        const answer = await fetch(base + path, { headers });
        read[path + Object.keys(headers).length] = answer.status;
      } catch (error) {
        read[path + Object.keys(headers).length] = 0;
      }
    }
  }
  return read;
}
"""
"""What every page may read: documents, and why there is none; returns the statuses."""
