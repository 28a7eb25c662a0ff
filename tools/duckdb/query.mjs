// Runs the SQL on standard input, and prints the rows of its last statement.
import { readFileSync } from "node:fs";
import { DuckDBInstance } from "@duckdb/node-api";

const connection = await (await DuckDBInstance.create(":memory:")).connect();
const reader = await connection.runAndReadAll(readFileSync(0, "utf8"));
for (const row of reader.getRowObjectsJson()) {
	console.log(JSON.stringify(row));
}
