/** Starting a job and following it to its end. */
import { reviveError } from '#base'
import type { ControlClient, JobView } from '#server'
import type { CommandContext } from '../command.ts'

/** Shows progress until the job is over. @throws the job's error; `cancelled` */
export async function watchJob(control: ControlClient, id: string, context: CommandContext): Promise<JobView> {
  const onEvent = (event: unknown): void => {
    const { progress } = event as JobView
    if (progress !== undefined) context.output.progress(progress)
  }
  const job = (await control.call('job.watch', { id }, { onEvent, signal: context.signal })) as JobView
  if (job.error !== undefined) throw reviveError(job.error)
  return job
}

/** Starts the job; with `wait` follows it and gives how it ended, else gives its id alone. */
export async function startJob(
  control: ControlClient,
  request: Readonly<{ job: string; input: unknown; key?: string }>,
  wait: boolean,
  context: CommandContext,
): Promise<void> {
  const id = (await control.call('job.start', request)) as string
  if (!wait) return context.output.result({ id }, () => id)
  context.output.note(`Job ${id}; it goes on when this command is left.`)
  const job = await watchJob(control, id, context)
  context.output.result(job, () => `Job ${id} ${job.status}.\n${JSON.stringify(job.output, undefined, 2)}`)
}
