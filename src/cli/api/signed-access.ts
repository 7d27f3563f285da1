/**
 * A signed URL to the bytes of a disk or snapshot, for as long as they are moved. The URL opens the bytes to whoever has it:
 * it is never shown, and taken back at the end, also after Ctrl-C.
 */
import { type ApiContext, follow } from './api-command.ts'
import { followOperation } from './follow-operation.ts'
import { CliError } from '../errors.ts'
import { nameOf } from './targets.ts'

const ACCESS_SECONDS = 24 * 3600
const REVOKE_MS_MAX = 15_000

type Access = 'Read' | 'Write'

async function grant(context: ApiContext, id: string, access: Access): Promise<string> {
  const body = { access, durationInSeconds: ACCESS_SECONDS, fileFormat: 'VHD' }
  const answer = await context.client.ask('POST', `${id}/beginGetAccess`, body)
  const { output } = await follow(context, answer, `Opening ${nameOf(id)}`)
  const { accessSAS } = (output ?? {}) as Readonly<{ accessSAS?: string }>
  if (accessSAS !== undefined) return accessSAS
  throw new CliError('api_answer_invalid', 'The server granted access and gave no URL.')
}

/** A reader's URL is taken back even when the command is being left. */
async function revoke({ client, output }: ApiContext, id: string): Promise<void> {
  const lasting = client.withSignal(AbortSignal.timeout(REVOKE_MS_MAX))
  try {
    const answer = await lasting.ask('POST', `${id}/endGetAccess`)
    const task = `Closing ${nameOf(id)}`
    await followOperation({ client: lasting, task, progress: output.progress }, answer)
  } catch {
    // The bytes were moved or not: that is what the command tells. The URL ends by itself.
    output.note(`The access to ${nameOf(id)} could not be taken back; it ends by itself within a day.`)
  }
}

/** Runs `use` with a URL to read from. */
export async function withReadAccess<T>(context: ApiContext, id: string, use: (url: string) => Promise<T>): Promise<T> {
  const url = await grant(context, id, 'Read')
  try {
    return await use(url)
  } finally {
    await revoke(context, id)
  }
}

/** Runs `use` with a URL to write to. Taking it back makes the disk of what was written, so that is left to the caller. */
export async function withWriteAccess<T>(
  context: ApiContext,
  id: string,
  use: (url: string) => Promise<T>,
): Promise<T> {
  return use(await grant(context, id, 'Write'))
}
