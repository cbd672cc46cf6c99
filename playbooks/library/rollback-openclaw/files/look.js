// Looks at a state that is to take the place of the present one: fails when the installed
// OpenClaw could not read it, and says what would be lost.
// usage: look.js PRESENT OTHER PACKAGE [MANIFEST]
const fs = require("node:fs"), path = require("node:path");
const { DatabaseSync } = require("node:sqlite");
const [present, other, pkg, manifest] = process.argv.slice(2);

function refuse(why) {
  console.error(why);
  process.exit(1);
}

function rows(file, sql) {
  if (!fs.existsSync(file)) return [];
  const db = new DatabaseSync(file, { readOnly: true });
  try {
    return db.prepare(sql).all();
  } finally {
    db.close();
  }
}

const shared = (state) => path.join(state, "state/openclaw.sqlite");
const agents = (state) => {
  const dir = path.join(state, "agents");
  return fs.existsSync(dir) ? fs.readdirSync(dir).map((a) => path.join(dir, a, "agent/openclaw-agent.sqlite")).filter(fs.existsSync) : [];
};

// A path in the archive that is not below the state would not be put anywhere.
if (manifest) {
  const m = JSON.parse(fs.readFileSync(manifest));
  if (m.paths.stateDir !== present)
    refuse(`the archive is of the state at ${m.paths.stateDir}, and here it is at ${present}: restore it for an account with that home`);
  const elsewhere = m.assets.filter((a) => a.kind !== "state").map((a) => a.sourcePath);
  if (elsewhere.length)
    refuse(`the archive holds what is outside of the state, which this playbook does not put back: ${elsewhere.join(", ")}. Restore it by hand: openclaw backup restore`);
  console.log(`the archive is of ${m.createdAt}, made by ${m.runtimeVersion}`);
}

const { version, openclaw } = JSON.parse(fs.readFileSync(path.join(pkg, "package.json")));
const knows = (openclaw || {}).schemaVersions || {};
if (!fs.existsSync(shared(other))) refuse(`there is no database in ${other}`);
for (const [file, most] of [[shared(other), knows.state], ...agents(other).map((f) => [f, knows.agent])]) {
  const has = rows(file, "pragma user_version")[0].user_version;
  if (most && has > most)
    refuse(`OpenClaw ${version} knows databases up to ${most}, and ${path.relative(other, file)} has ${has}: install the version that made it first`);
}

const devices = (state) => rows(shared(state), "select device_id, display_name, public_key from device_pairing_paired");
const kept = new Set(devices(other).map((d) => d.device_id + d.public_key));
const gone = devices(present).filter((d) => !kept.has(d.device_id + d.public_key));
for (const d of gone) console.log(`lost: the pairing of device ${d.device_id.slice(0, 16)}${d.display_name ? " " + d.display_name : ""}`);

// Conversations are rows of the agents' databases, which change with every start.
for (const file of agents(present)) {
  const name = path.relative(present, file), was = path.join(other, name);
  const query = "select count(*) n, max(created_at) last from transcript_events";
  try {
    const last = fs.existsSync(was) ? rows(was, query)[0].last || 0 : 0;
    const { n } = rows(file, `${query} where created_at > ${last}`)[0];
    if (n) console.log(`lost: ${n} events of conversations of the agent ${name.split("/")[1]}`);
  } catch {
    console.log(`lost: perhaps conversations of the agent ${name.split("/")[1]}, whose database is not one that can be compared`);
  }
}

const since = Math.max(...[shared(other), ...agents(other)].map((f) => fs.statSync(f).mtimeMs));
let files = [];
// What serves makes and removes files meanwhile.
(function walk(dir) {
  for (const e of !fs.existsSync(dir) ? [] : fs.readdirSync(dir, { withFileTypes: true })) {
    const file = path.join(dir, e.name);
    if (e.isDirectory()) walk(file);
    else if (e.isFile() && (fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0) > since) files.push(path.relative(present, file));
  }
})(present);
files = files.filter((f) => /^(workspace|agents\/|media\/|credentials\/)/.test(f) && !/\.sqlite/.test(f));
for (const f of files.slice(0, 20)) console.log(`lost: what is new in ${f}`);
if (files.length > 20) console.log(`lost: what is new in ${files.length - 20} more files`);
