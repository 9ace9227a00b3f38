// The engine of the playground of `charlm serve`: it asks the server.
"use strict";

const TOKEN = new URLSearchParams(location.search).get("token");

// What the server answers to JSON; an Error has its words if it refuses.
async function ask(path, content, signal) {
  const headers = { "Content-Type": "application/json" };
  if (TOKEN) headers.Authorization = `Bearer ${TOKEN}`;
  const body = JSON.stringify(content);
  const answer = await fetch(path, { method: "POST", headers, body, signal }).catch((error) => {
    throw signal?.aborted ? error : new Error("the playground does not answer; is it still running?");
  });
  if (!answer.ok) throw new Error(words(await answer.json()));
  return answer;
}

const words = ({ error, hint }) => (hint ? `${error} (${hint})` : error);

// The objects in the lines of an answer, as they come.
async function* lines(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let left = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (left + value).split("\n");
    left = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}

const engine = {
  // Continue a text; the parts of the answer as they come.
  async* write(content, signal) {
    for await (const part of lines(await ask("/api/generate", content, signal))) {
      if (part.error) throw new Error(words(part));
      yield part;
    }
  },
  surprisal: async (content, signal) => (await ask("/api/surprisal", content, signal)).json(),
  units: async (content, signal) => (await ask("/api/units", content, signal)).json(),
  copies: async (content, signal) => (await ask("/api/copies", content, signal)).json(),
};
