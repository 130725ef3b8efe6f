import sfumato as sf


class Midpoint(sf.Solver):
    order = 2

    def step(self, ask, x_t, t, s, carry):
        m = (t + s) / 2
        x_m = x_t + (m - t) * ask.process.velocity(x_t, ask(x_t, t), t)
        return x_t + (s - t) * ask.process.velocity(x_m, ask(x_m, m), m), carry


images = sf.load("fashion").sample(4, seed=0, steps=9, solver=Midpoint())
