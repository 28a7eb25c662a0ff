// Asks for what standard input lists with Node's https, over an agent that keeps
// connections alive: one connection, or as many as there are requests at once.
import {readFileSync} from "node:fs";
import https from "node:https";

const task = JSON.parse(readFileSync(0, "utf8"));
const agent = new https.Agent({keepAlive: true, maxSockets: task.atOnce, ca: readFileSync(task.ca)});
const sockets = new Set();
let protocol = "";

const ask = ({method, path, header, body}) => new Promise((resolve, reject) => {
	const request = https.request({agent, host: task.host, port: task.port, method, path, headers: header}, response => {
		protocol = "HTTP/" + response.httpVersion;
		const all = [];
		response.on("error", reject);
		response.on("data", piece => all.push(piece));
		response.on("end", () => resolve({
			status: response.statusCode,
			header: response.headersDistinct,
			body: Buffer.concat(all).toString("base64"),
		}));
	});
	request.on("socket", socket => sockets.add(socket));
	request.on("error", reject);
	request.end(body || undefined);
});

const answers = await Promise.all(task.requests.map(ask)); // the agent lets them wait for each other
agent.destroy();
process.stdout.write(JSON.stringify({connections: sockets.size, protocol, answers}));
