/** Asks before something is deleted, unless `--yes` says that it is meant. */
import { BaseError } from '#base'
import { CliError } from '../errors.ts'

export type ConfirmOptions = Readonly<{ yes?: boolean }>

/** @throws CliError `confirmation_missing`, `cancelled` */
export async function confirmed({ yes }: ConfirmOptions, question: string): Promise<void> {
  if (yes === true) return
  if (!process.stdin.isTTY || !process.stderr.isTTY)
    throw new CliError('confirmation_missing', `Not confirmed: ${question}`, {
      hint: 'Say --yes; there is no terminal to ask on.',
    })
  const { confirm, isCancel } = await import('@clack/prompts')
  const answer = await confirm({ message: question, initialValue: false, output: process.stderr })
  if (isCancel(answer) || answer !== true) throw new BaseError('cancelled', 'Not confirmed. Nothing was changed.')
}
