import { globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import t from 'tap'
import manifest from '../../config.json' with { type: 'json' }
import { settings as pluginSettings } from '../../plugin/settings.ts'

const root = join(import.meta.dirname, '../..')

/** Which part, or folder of one, may import which; process/ is what every part stands on. */
const mayImport: Record<string, readonly string[]> = {
  process: [],
  registry: ['process'],
  docker: ['process'],
  vsm: ['docker', 'process'],
  plugin: ['registry', 'docker', 'vsm', 'process'],
  // pure but for clocks, and of no plugin: the command line tries policies by it, and does not carry the plugin for that
  'plugin/guard': ['registry', 'process'],
  sidecar: ['registry', 'docker', 'vsm', 'process'],
  cli: ['registry', 'docker', 'vsm', 'process', 'plugin/guard'],
}

const imports = (file: string): string[] =>
  [...readFileSync(join(root, file), 'utf8').matchAll(/(?:from|import)\s*\(?\s*'(?<path>\.[^']+)'/g)].map(
    (match) => normalize(join(dirname(file), match.groups?.path ?? '')),
  )

t.test('parts import in the stated directions only', async (t) => {
  for (const [part, allowed] of Object.entries(mayImport)) {
    const files = globSync(`${part}/**/*.ts`, { cwd: root })
    t.not(files.length, 0, `${part}/ has sources`)
    const wrong = files.flatMap((file) =>
      imports(file)
        .filter(
          (path) =>
            path !== 'package.json' && ![part, ...allowed].some((other) => path.startsWith(`${other}/`)),
        )
        .map((path) => `${file} imports ${path}`),
    )
    t.strictSame(wrong, [], `${part}/ imports ${allowed.join(', ') || 'nothing of ours'}`)
  }
})

t.test('only a main.ts names a concrete store', async (t) => {
  const files = globSync('{plugin,sidecar,cli,docker,vsm,process,registry}/**/*.ts', { cwd: root })
  const wrong = files.filter(
    (file) =>
      !file.endsWith('/main.ts') &&
      !file.startsWith('registry/stores/') &&
      // what a program is told about its store names none
      imports(file).some(
        (path) => path.startsWith('registry/stores/') && path !== 'registry/stores/settings.ts',
      ),
  )
  t.strictSame(wrong, [])
})

t.test("the manifest's settings are the plugin's", async (t) => {
  // Node's own, not ours
  const others = new Set(['NODE_COMPILE_CACHE'])
  const names = manifest.env.map(({ name }) => name).filter((name) => !others.has(name))
  t.strictSame(names.sort(), Object.keys(pluginSettings).sort())
})

t.test('what Node makes of the sources at the build is what a plugin starts with', async (t) => {
  const [node, ...args] = manifest.entrypoint
  const flags = args.filter((arg) => arg.startsWith('--')).join(' ')
  const cache = manifest.env.find(({ name }) => name === 'NODE_COMPILE_CACHE')?.value
  const dockerfile = readFileSync(join(root, 'plugin/Dockerfile'), 'utf8')
  t.match(node, /node$/)
  t.match(dockerfile, `node ${flags} plugin/start.ts`, 'by the same flags: V8 takes nothing made by others')
  t.match(dockerfile, `NODE_COMPILE_CACHE=${cache} `, 'and in the same place')
})
