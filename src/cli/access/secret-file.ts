/** A new file for a secret: made before the secret is, so that none is made that cannot be kept; gone again if it is not. */
import { open, rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import { messageOf } from '#base'
import { CliError } from '../errors.ts'

export type SecretFile = Readonly<{
  path: string
  /** With a line end; durable when it resolves. */
  write: (secret: string) => Promise<void>
  close: () => Promise<void>
}>

/** @throws CliError `secret_file_unusable`, also when there is such a file */
export async function openSecretFile(given: string): Promise<SecretFile> {
  const path = resolve(given)
  const handle = await open(path, 'wx', 0o600).catch((cause: unknown) => {
    throw new CliError('secret_file_unusable', `The file ${path} cannot be made: ${messageOf(cause)}`, {
      facts: { path },
      hint: 'Name a file that does not exist, in a folder that you may write to. Nothing was changed.',
      cause,
    })
  })
  let written = false
  return {
    path,
    write: async (secret) => {
      await handle.writeFile(`${secret}\n`)
      await handle.sync()
      written = true
    },
    close: async () => {
      await handle.close()
      if (!written) await rm(path, { force: true })
    },
  }
}
