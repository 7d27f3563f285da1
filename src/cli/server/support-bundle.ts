/** holdfast support-bundle: what somebody who helps needs to see, without secrets. */
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { runCommandHandler } from '../command.ts'
import { type HomeOptions, homeOf, makeHomeCommand } from './home-option.ts'

type BundleOptions = HomeOptions & Readonly<{ to: string }>

export function supportBundleCommand(): Command {
  return makeHomeCommand({
    usage: 'support-bundle',
    summary: 'an archive for whoever helps: versions, settings, findings, logs; no secrets',
    description:
      'Writes a tar archive with versions, settings, what doctor finds, the state of jobs and processes and the ends of the ' +
      'logs. It holds names of machines and folders; look through it before you give it away. It holds no key, no secret ' +
      'and no content of a disk. Works with and without a server.',
    examples: ['holdfast support-bundle --to /tmp/holdfast-support.tar'],
  })
    .requiredOption('--to <file>', 'the archive to write')
    .action((options: BundleOptions) =>
      runCommandHandler(options, async ({ output }) => {
        const home = await homeOf(options)
        const { writeSupportBundle } = await import('#server')
        const { systemClock } = await import('#runtime')
        const path = resolve(options.to)
        const names = await writeSupportBundle(home, systemClock, path, process.env)
        output.result({ path, files: names }, () => `${path}: ${names.length} files.`)
      }),
    )
}
