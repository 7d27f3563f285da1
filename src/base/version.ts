/** The program's version, as package.json has it (a test compares): what processes tell each other of themselves. */
export const PROGRAM_VERSION = '0.1.0'
/** Who writes, for the record in packs, points and pins. */
export const WRITER = `holdfast ${PROGRAM_VERSION}`
