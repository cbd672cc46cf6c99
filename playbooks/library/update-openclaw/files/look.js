// Looks at a version of OpenClaw that is to follow another one: fails when this host's
// Node.js or the state's databases are not for it, and says what is new in it.
// usage: look.js NODE OLD-PACKAGE NEW-PACKAGE
const fs = require("node:fs"), path = require("node:path");
const { execFileSync } = require("node:child_process");
const [node, from, to] = process.argv.slice(2);
const read = (dir) => JSON.parse(fs.readFileSync(path.join(dir, "package.json")));
const older = read(from), newer = read(to);

function refuse(why) {
  console.error(why);
  process.exit(1);
}

const number = (v) => v.split(".").map(Number);
function compare(a, b) {
  for (let i = 0; i < 3; i++) if ((a[i] || 0) !== (b[i] || 0)) return (a[i] || 0) - (b[i] || 0);
  return 0;
}

// The range is alternatives of >=A and <B, as OpenClaw writes it.
const has = number(execFileSync(node, ["--version"]).toString().trim().slice(1));
const range = (newer.engines || {}).node || ">=0";
const fits = range.split("||").some((part) =>
  part.trim().split(/\s+/).every((term) => {
    const [, op, v] = /^(>=|<)(.+)$/.exec(term) || refuse(`cannot read engines.node "${range}" of OpenClaw ${newer.version}`);
    return op === ">=" ? compare(has, number(v)) >= 0 : compare(has, number(v)) < 0;
  }));
if (!fits) refuse(`OpenClaw ${newer.version} takes Node.js ${range}, and here is ${has.join(".")}: apply openclaw with another node_version first`);

const schema = (p) => (p.openclaw || {}).schemaVersions || {};
const a = schema(older), b = schema(newer);
for (const k of ["state", "agent"])
  if (a[k] > b[k]) refuse(`OpenClaw ${newer.version} cannot read what ${older.version} wrote (${k} database ${a[k]}, it knows ${b[k]}): rollback-openclaw goes back`);
console.log(`${older.version} to ${newer.version}: state database ${a.state} to ${b.state}, agent databases ${a.agent} to ${b.agent}` +
  (a.state === b.state && a.agent === b.agent ? "" : "; the old version cannot read them afterwards"));

const log = path.join(to, "CHANGELOG.md");
const parts = fs.existsSync(log) ? fs.readFileSync(log, "utf8").split(/^## /m).slice(1) : [];
for (const part of parts) {
  const [title, ...lines] = part.split("\n");
  if (compare(number(title.trim()), number(older.version)) <= 0 || compare(number(title.trim()), number(newer.version)) > 0) continue;
  console.log(`\n${title.trim()}`);
  // What an operator reads first: breaking changes and highlights, each in one line.
  let section = "";
  for (const line of lines) {
    if (line.startsWith("### ")) section = line.slice(4);
    if (/break|highlight|security|deprecat|upgrade|migrat/i.test(section) && line.startsWith("- "))
      console.log(`${section}: ${line.slice(2, 202)}`);
  }
}
