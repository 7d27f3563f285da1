/**
 * The key to a repository, from where secrets may come: a file that HOLDFAST_KEY_FILE names, a file that
 * HOLDFAST_PASSPHRASE_FILE names (its first line), HOLDFAST_PASSPHRASE, or the terminal; in this order. Never from the
 * command line, which every user of the machine can read. The variable is dropped once read, so that no program started
 * later inherits it.
 */
import { readFile } from 'node:fs/promises'
import { messageOf } from '#base'
import type { Credential } from '#engine/repository'
import { CliError } from './errors.ts'

const KEY_FILE_BYTES_MAX = 1024 * 1024

export type CredentialRequest = Readonly<{
  /** Ask twice: a new passphrase that is mistyped once would lock everything away. */
  confirm?: boolean
  question?: string
  /** After HOLDFAST_ in each variable's name: NEW_ for the key that is being added, TARGET_ for that of the target, ... */
  prefix?: string
}>

/** What was given already in this run: a command that opens a repository twice asks once. */
const given = new Map<string, Credential>()

/** @throws CliError passphrase_missing, passphrase_mismatch, key_file_unreadable */
export async function askCredential(request: CredentialRequest = {}): Promise<Credential> {
  const { prefix = '' } = request
  const credential = given.get(prefix) ?? (await findCredential(request))
  given.set(prefix, credential)
  return credential
}

async function findCredential(request: CredentialRequest): Promise<Credential> {
  const name = (suffix: string): string => `HOLDFAST_${request.prefix ?? ''}${suffix}`
  const keyFile = process.env[name('KEY_FILE')]
  if (keyFile !== undefined && keyFile !== '') return { kind: 'key-file', bytes: await readSecret(keyFile) }
  const passphraseFile = process.env[name('PASSPHRASE_FILE')]
  if (passphraseFile !== undefined && passphraseFile !== '') {
    const text = (await readSecret(passphraseFile)).toString('utf8')
    return { kind: 'passphrase', passphrase: text.split(/\r?\n/, 1)[0] ?? '' }
  }
  const passphrase = process.env[name('PASSPHRASE')]
  if (passphrase !== undefined && passphrase !== '') {
    delete process.env[name('PASSPHRASE')]
    return { kind: 'passphrase', passphrase }
  }
  return { kind: 'passphrase', passphrase: await promptPassphrase(request, name) }
}

async function readSecret(path: string): Promise<Buffer> {
  try {
    const bytes = await readFile(path)
    if (bytes.length <= KEY_FILE_BYTES_MAX) return bytes
  } catch (cause) {
    throw new CliError('key_file_unreadable', `The key file ${path} cannot be read: ${messageOf(cause)}`, {
      facts: { path },
      hint: 'Check the path and that this user may read it.',
      cause,
    })
  }
  throw new CliError('key_file_unreadable', `The key file ${path} is larger than 1 MiB.`, { facts: { path } })
}

async function promptPassphrase(request: CredentialRequest, name: (suffix: string) => string): Promise<string> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new CliError('passphrase_missing', 'No passphrase was given and there is no terminal to ask on.', {
      hint: `Set ${name('PASSPHRASE_FILE')}, ${name('PASSPHRASE')} or ${name('KEY_FILE')}.`,
    })
  }
  const passphrase = await promptSecret(request.question ?? 'Passphrase of the repository')
  if (request.confirm === true && (await promptSecret('The same again')) !== passphrase) {
    throw new CliError('passphrase_mismatch', 'The two passphrases differ. Nothing was changed.')
  }
  return passphrase
}

async function promptSecret(message: string): Promise<string> {
  const { isCancel, password } = await import('@clack/prompts')
  const answer = await password({ message, output: process.stderr })
  if (isCancel(answer) || answer === undefined || answer === '') {
    throw new CliError('passphrase_missing', 'No passphrase was given.')
  }
  return answer
}
