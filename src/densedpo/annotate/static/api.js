// Requests to the server. A `Refusal` carries its words for the person at the page; other errors mean "try again".

export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function request(method, path, body) {
  const response = await fetch(path, {
    method,
    headers: body === undefined ? {} : { "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (response.status >= 500) throw new Error(`the server answered ${response.status}`);
  const text = await response.text();
  const value = text ? JSON.parse(text) : null;
  if (!response.ok) throw new Refusal(response.status, value?.error ?? `refused (${response.status})`);
  return value;
}
