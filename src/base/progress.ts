/** How long-running work reports itself. The engine reports facts; the CLI, the job engine and the portal show them. */

export type Progress = Readonly<{
  /** What is being done now, in the user's words: "Reading disk 0". */
  task: string
  doneBytes: number
  /** 0 while it is not yet known. */
  totalBytes: number
  /** What the two figures count, if it is not bytes. */
  unit?: 'percent'
}>

/** Called often (every chunk); the receiver decides how seldom to show it. Must not throw. */
export type ProgressSink = (progress: Progress) => void

export const silentProgress: ProgressSink = () => {}
