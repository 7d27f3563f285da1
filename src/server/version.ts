/** The program's version, as package.json has it; what processes tell each other and write into what they make. */
import { readFileSync } from 'node:fs'

function read(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  const { version } = JSON.parse(text) as { version?: unknown }
  return typeof version === 'string' ? version : 'unknown'
}

export const PROGRAM_VERSION = read()
