// The page of inn view: noVNC for the guest's screen, xterm.js for its console.
import RFB from "./novnc/core/rfb.js";

const PACE = 20; // milliseconds between keys that are typed for somebody
const AGAIN = 2000; // milliseconds until a connection that was lost is made anew
const element = id => document.getElementById(id);
const status = text => { element("status").value = text; };
const place = name => new URL(name, location.href.replace(/^http/, "ws")).href;

let rfb = null;
let fits = true; // guests that can take the size of the window

function openScreen() {
    rfb = new RFB(element("screen"), place("screen"));
    rfb.scaleViewport = true;
    rfb.resizeSession = fits;
    rfb.background = "#1d2125";
    rfb.addEventListener("connect", () => { status("connected"); rfb.focus(); });
    rfb.addEventListener("clipboard", event => {
        // It goes no further before somebody takes it: what they copied elsewhere is theirs.
        element("text").value = event.detail.text;
    });
    rfb.addEventListener("disconnect", () => { status("the guest has gone"); setTimeout(openScreen, AGAIN); });
}

async function takeText() {
    const text = element("text");
    try {
        await navigator.clipboard.writeText(text.value);
        status("copied");
    } catch {
        // Browsers let pages do that where they come from this computer, or by TLS.
        text.select();
        status("press Ctrl-C to copy");
    }
}

// Keys of which the character is not the symbol.
const SYMBOLS = { "\n": 0xff0d, "\t": 0xff09 };

async function typeText(text) {
    for (const character of text.replaceAll("\r\n", "\n")) {
        const symbol = SYMBOLS[character] ?? character.codePointAt(0);
        if (symbol >= 0x20 && (symbol < 0x7f || symbol > 0xff00)) rfb?.sendKey(symbol, null);
        // Systems lose keys of whoever is faster than anybody types.
        await new Promise(resolve => setTimeout(resolve, PACE));
    }
}

function openConsole() {
    const size = { cols: 100, rows: 30 };
    const terminal = new window.Terminal({ ...size, cursorBlink: true, scrollback: 5000 });
    const decoder = new TextDecoder();
    terminal.open(element("console"));
    const fit = () => {
        const cell = terminal._core.charMeasure;
        const { clientWidth, clientHeight } = element("console");
        // Beside the characters there is a scroll bar.
        if (cell.width && clientWidth) {
            terminal.resize(
                Math.max(20, Math.floor((clientWidth - 32) / cell.width)),
                Math.max(5, Math.floor((clientHeight - 12) / cell.height)),
            );
        }
    };
    fit();
    window.addEventListener("resize", fit);
    let socket = null;
    const connect = () => {
        socket = new WebSocket(place("console"));
        socket.binaryType = "arraybuffer";
        socket.onmessage = event => terminal.write(decoder.decode(event.data, { stream: true }));
        socket.onclose = () => setTimeout(connect, AGAIN);
    };
    terminal.on("data", text => {
        if (socket.readyState === WebSocket.OPEN) socket.send(new TextEncoder().encode(text));
    });
    connect();
    return terminal;
}

let terminal = null;

function show(name) {
    for (const each of ["screen", "console"]) {
        element(each).hidden = each !== name;
        element(`show-${each}`).setAttribute("aria-selected", String(each === name));
    }
    if (name === "console") {
        terminal ??= openConsole();
        terminal.focus();
    } else {
        rfb?.focus();
    }
}

const guest = await (await fetch("guest.json")).json();
element("show-screen").onclick = () => show("screen");
element("show-console").onclick = () => show("console");
element("cad").onclick = () => rfb?.sendCtrlAltDel();
element("fit").onclick = () => {
    fits = !fits;
    element("fit").setAttribute("aria-pressed", String(fits));
    if (rfb) rfb.resizeSession = fits;
};
element("paste").onclick = () => {
    const board = element("board");
    board.hidden = !board.hidden;
    element("paste").setAttribute("aria-expanded", String(!board.hidden));
    (board.hidden ? rfb : element("text"))?.focus();
};
element("copy").onclick = () => rfb?.clipboardPasteFrom(element("text").value);
element("take").onclick = takeText;
element("type").onclick = () => { if (rfb) typeText(element("text").value); rfb?.focus(); };
element("full").onclick = () => document.querySelector("main").requestFullscreen();
if (guest.screen) {
    openScreen();
} else {
    for (const id of ["show-screen", "cad", "fit", "paste"]) element(id).hidden = true;
    status("no display: see inn run --display");
}
show(guest.screen && location.hash !== "#console" ? "screen" : "console");
