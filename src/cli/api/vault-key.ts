/** holdfast vault key: the one thing without which nobody reads a vault once its server is lost. */
import { resolve } from 'node:path'
import { Command } from 'commander'
import type { ExportedKey } from '#server'
import { runCommandHandler } from '../command.ts'
import { CliError } from '../errors.ts'
import { type HomeOptions, makeHomeCommand, withControl } from '../server/home-option.ts'

type ExportOptions = HomeOptions & Readonly<{ group?: string; to?: string }>

export function vaultKeyCommand(): Command {
  return new Command('key')
    .summary('the key of a vault')
    .description('Hands out the key file of a vault, to be kept apart from this host and from the stores.')
    .addHelpText('after', '\nExamples:\n  holdfast vault key export v1 -g web --to /media/safe/v1.key')
    .addCommand(exportCommand())
}

function exportCommand(): Command {
  return makeHomeCommand({
    usage: 'export <name>',
    summary: 'write the key file of a vault to where it is kept',
    description:
      'Writes the file that opens the vault and its mirror with everything else gone ("holdfast recover --key"). Keep it where neither this host nor ' +
      'the stores are. It works on the server’s own host alone. "holdfast repo keys STORE add" gives a vault further keys, also a passphrase; its mirror takes them over.',
    examples: [
      'holdfast vault key export v1 --to /media/safe/v1.key',
      'holdfast vault key export v1 -g web --to v1.key',
    ],
  })
    .option('-g, --group <name>', 'its resource group, where several vaults have the name')
    .option('--to <file>', 'the file, which must not exist (default: vault-<uid>.key here)')
    .action((name: string, options: ExportOptions) =>
      runCommandHandler(options, ({ output }) =>
        withControl(options, async (control) => {
          const { createFileOnce } = await import('#runtime')
          const { group, to } = options
          const { vault, uid, key } = (await control.call('vault.exportKey', { vault: name, group })) as ExportedKey
          const path = resolve(to ?? `vault-${uid}.key`)
          if ((await createFileOnce(path, [Buffer.from(key, 'base64')])) === 'exists')
            throw new CliError('secret_file_unusable', `There is a file ${path} already.`, { facts: { path } })
          output.result({ vault, file: path }, () => `The key of ${vault} is in ${path}. Keep it away from this host.`)
        }),
      ),
    )
}
