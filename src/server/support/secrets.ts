/**
 * Everything secret in a home, and taking it out of texts. A support bundle is made of files that should hold none; this is
 * the second line: what is in a key file cannot leave by way of a log that somebody once wrote it into.
 */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf } from '#base'

const HIDDEN = '[hidden]'
/** Shorter words of a key file are names and punctuation. */
const SECRET_LENGTH_MIN = 12
const VARIABLE_LENGTH_MIN = 4
const SECRET_VARIABLES = /PASSPHRASE$|SECRET|PASSWORD|TOKEN/
/** Access tokens, signatures of URLs, PEM keys, join tokens, credentials in URLs: secret wherever they came from. */
const SHAPES: readonly RegExp[] = [
  /eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}/g,
  /(?<=[?&]sig=)[^&\s"']+/g,
  /(?<=-----BEGIN [A-Z ]*PRIVATE KEY-----)[\s\S]*?(?=-----END|$)/g,
  /(?<=\bhf~)[\w-]{16,}/g,
  /(?<=\bholdfast-join-1\.)[\w-]{16,}/g,
  /(?<=:\/\/)[^/\s"'@]+:[^/\s"'@]+(?=@)/g,
]

async function textsIn(folder: string, wanted: (name: string) => boolean): Promise<string[]> {
  let names: string[]
  try {
    names = (await readdir(folder)).filter(wanted)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw error
  }
  return Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')))
}

/** Of a home that joined a server; or is about to. */
const HOST_FILES = new Set(['host.json', 'joining.json'])

function privateKeyIn(text: string): string {
  return /"privateKey":"((?:[^"\\]|\\.)*)"/.exec(text)?.[1] ?? ''
}

/** Every word of every key file, and of variables that name secrets. @param folder the home's */
export async function secretsOf(
  folder: string,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<readonly string[]> {
  const files = await textsIn(join(folder, 'keys'), () => true)
  const keys = await textsIn(join(folder, 'tls'), (name) => name.endsWith('.key'))
  const joined = (await textsIn(join(folder, 'tls'), (name) => HOST_FILES.has(name))).map(privateKeyIn)
  const words = [...files, ...keys, ...joined].flatMap((text) => text.split(/[\s"',:{}[\]]+|\\n/))
  const variables = Object.entries(environment).flatMap(([name, value]) =>
    SECRET_VARIABLES.test(name) && value !== undefined && value.length >= VARIABLE_LENGTH_MIN ? [value] : [],
  )
  const secrets = words.filter((word) => word.length >= SECRET_LENGTH_MIN)
  return [...new Set([...secrets, ...variables])].sort((a, b) => b.length - a.length)
}

/** The text without them. */
export function withoutSecrets(text: string, secrets: readonly string[]): string {
  const known = secrets.reduce((rest, secret) => rest.replaceAll(secret, HIDDEN), text)
  return SHAPES.reduce((rest, shape) => rest.replaceAll(shape, HIDDEN), known)
}
