/** holdfast repo init: makes a repository in an empty folder or bucket. Never touches one that is there. */
import type { Command } from 'commander'
import { formatBytes } from '#base'
import { askCredential } from '../credential.ts'
import { runCommandHandler } from '../command.ts'
import { parseSize } from '../size.ts'
import { makeEnvironment, makeRepoCommand, type RepoOptions } from './open.ts'

type InitCommandOptions = RepoOptions & Readonly<{ chunkSize?: number; label?: string; reserve?: number }>

export function initCommand(): Command {
  return makeRepoCommand({
    usage: 'init <store>',
    summary: 'make a repository',
    description:
      'Makes a repository in an empty folder (made if missing) or bucket. Everything in it is encrypted with a key that only ' +
      'the passphrase or key file opens: without it the data cannot be recovered by anyone.',
    examples: [
      'holdfast repo init /srv/backup',
      'HOLDFAST_PASSPHRASE_FILE=/etc/holdfast/passphrase holdfast repo init s3://backup/site-a',
      'head -c 32 /dev/urandom > key && HOLDFAST_KEY_FILE=key holdfast repo init /srv/backup',
    ],
  })
    .option('--chunk-size <bytes>', 'unit of deduplication, 64KiB to 4MiB, a power of two (default: 256KiB)', parseSize)
    .option(
      '--reserve <bytes>',
      'space a folder holds so that prune works when it is full, 0 for none (default: 64MiB)',
      parseSize,
    )
    .option('--label <text>', 'name of the first key slot')
    .action((location: string, options: InitCommandOptions) =>
      runCommandHandler(options, async ({ output }) => {
        const { CHUNK_BYTES_DEFAULT } = await import('#base')
        const { chunkSize = CHUNK_BYTES_DEFAULT, label } = options
        await checkChunkSize(chunkSize)
        const { openStore, Repository, RESERVE_BYTES_DEFAULT } = await import('#engine/repository')
        const credential = await askCredential({ confirm: true, question: 'New passphrase for the repository' })
        const store = await openStore(location, { create: true })
        try {
          const init = {
            credential,
            chunkSizeBytes: chunkSize,
            reserveBytes: options.reserve ?? RESERVE_BYTES_DEFAULT,
            ...(label === undefined ? {} : { label }),
          }
          const config = await Repository.init(store, init, await makeEnvironment(options, { output }))
          const { id, createdAt, chunkSizeBytes } = config
          output.result(
            { schema: 1, id, location: store.location, createdAt, chunkSizeBytes },
            () => `Made repository ${id} at ${store.location}, in chunks of ${formatBytes(chunkSizeBytes)}.`,
          )
        } finally {
          await store.close()
        }
      }),
    )
}

async function checkChunkSize(bytes: number): Promise<void> {
  const { CHUNK_BYTES_MAX, CHUNK_BYTES_MIN } = await import('#base')
  if (bytes >= CHUNK_BYTES_MIN && bytes <= CHUNK_BYTES_MAX && Number.isInteger(Math.log2(bytes))) return
  const { CliError } = await import('../errors.ts')
  throw new CliError('usage_invalid', `A chunk size of ${bytes} bytes is not possible.`, {
    hint: 'Give a power of two from 64KiB to 4MiB.',
  })
}
