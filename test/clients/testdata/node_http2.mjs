// Asks for what standard input lists over one connection of Node's http2.
import {readFileSync} from "node:fs";
import http2 from "node:http2";

const task = JSON.parse(readFileSync(0, "utf8"));
const session = http2.connect(`https://${task.host}:${task.port}`, {ca: readFileSync(task.ca)});
await new Promise((resolve, reject) => session.once("connect", resolve).once("error", reject));

const ask = ({method, path, header, body}) => new Promise((resolve, reject) => {
	const stream = session.request({":method": method, ":path": path, ...header}, {endStream: !body});
	const all = [];
	let head = {};
	stream.on("response", fields => head = fields);
	stream.on("data", piece => all.push(piece));
	stream.on("error", reject);
	stream.on("end", () => resolve({
		status: head[":status"],
		header: Object.fromEntries(Object.entries(head).filter(([name]) => !name.startsWith(":")).map(([name, value]) => [name, [value].flat()])),
		body: Buffer.concat(all).toString("base64"),
	}));
	if (body) stream.end(body);
	if (method === "HEAD") stream.resume();
});

const waiting = task.requests.map((request, i) => ({request, i}));
const answers = [];
await Promise.all(Array.from({length: task.atOnce}, async () => {
	for (let next; (next = waiting.shift()); ) answers[next.i] = await ask(next.request);
}));
const protocol = session.alpnProtocol === "h2" ? "HTTP/2.0" : String(session.alpnProtocol);
session.close();
process.stdout.write(JSON.stringify({connections: 1, protocol, answers}));
