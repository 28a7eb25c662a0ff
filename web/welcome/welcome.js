"use strict";

// Two small things that plain HTML cannot do: say how this page got here, and copy a command.
// Without this script the page is complete.
(() => {
  const protocols = {
    h3: "HTTP/3",
    h2: "HTTP/2",
    "http/1.1": "HTTP/1.1",
    "http/1.0": "HTTP/1.0",
  };

  // The row of the POP that served this page, if its address is in the table.
  function markPOP() {
    for (const link of document.querySelectorAll(".pops td a")) {
      if (new URL(link.href).origin !== location.origin) continue;
      const row = link.closest("tr");
      const name = row.cells[0].textContent.trim();
      const place = row.cells[1].textContent.trim();
      const here = document.createElement("span");
      here.className = "here";
      here.textContent = "you are here";
      row.cells[0].append(" ", here);
      row.classList.add("current");
      return place ? `${place} (${name})` : name;
    }
    return "";
  }

  function sayArrival(pop) {
    const line = document.getElementById("arrival");
    const nav = performance.getEntriesByType("navigation")[0];
    const protocol = nav && protocols[nav.nextHopProtocol];
    if (!line || !protocol) return;
    const wait = nav.responseStart - nav.requestStart;
    let text = `This page came ${pop ? `from ${pop} ` : ""}over ${protocol}`;
    if (nav.transferSize > 0 && wait > 0) {
      text += `, first byte in ${wait < 10 ? wait.toFixed(1) : Math.round(wait)}\u00a0ms`;
    }
    line.textContent = `${text}.`;
    line.hidden = false;
  }

  function addCopyButtons() {
    if (!navigator.clipboard) return; // not a secure context
    const status = document.getElementById("copied");
    for (const box of document.querySelectorAll(".command")) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "Copy";
      let timer = 0;
      button.addEventListener("click", async () => {
        const code = box.querySelector("code");
        let said = "Copied";
        try {
          await navigator.clipboard.writeText(code.textContent);
        } catch {
          getSelection().selectAllChildren(code); // the browser said no: the reader's own copy key is one step away
          said = "Selected";
        }
        button.textContent = said;
        if (status) status.textContent = said;
        clearTimeout(timer);
        timer = setTimeout(() => {
          button.textContent = "Copy";
          if (status) status.textContent = "";
        }, 2000);
      });
      box.append(button);
    }
  }

  sayArrival(markPOP());
  addCopyButtons();
})();
