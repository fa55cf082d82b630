//! A smooth surface through scattered points: piecewise cubic over a Delaunay triangulation.
//!
//! Each triangle is split at its centroid into three cubics in Bernstein-Bezier form (Clough and
//! Tocher 1965; the net as in Alfeld 1984). Values and gradients at the corners fix all of it but
//! the middle ordinate at each edge, which follows from asking that the derivative along the line
//! between the centroids of the two neighbours be linear on their common edge (Farin 1985): that
//! makes the surface C1 and independent of the axes' units. At the hull the line goes through the
//! middle of the edge. The gradients minimise the curvature along all edges of the triangulation
//! (Nielson 1983), by Gauss-Seidel until a sweep changes none by more than 1e-6, at most 400 sweeps;
//! those depend on the axes' units, which is as it is in what is reproduced here.

use spade::handles::{DirectedEdgeHandle, FaceHandle, InnerTag};
use spade::{
    DelaunayTriangulation, HasPosition, Point2, PositionInTriangulation, Triangulation as _,
};

const TOLERANCE: f64 = 1e-6;
const MOST_SWEEPS: usize = 400;

/// A triangle at the hull whose height is below this share of its longest side is the rounding of
/// points on one line (batch 1 at every context is such a line). Exact predicates keep it, while the
/// library reproduced, which works to the precision of its floats, does not.
const FLAT: f64 = 1e-15;

/// A point that knows its place in the input.
#[derive(Clone, Copy, Debug)]
struct Site {
    at: Point2<f64>,
    index: usize,
}

impl HasPosition for Site {
    type Scalar = f64;

    fn position(&self) -> Point2<f64> {
        self.at
    }
}

/// The triangulation, with what the interpolation asks of it.
pub(super) struct Mesh {
    triangulation: DelaunayTriangulation<Site>,
    points: Vec<[f64; 2]>,
    /// By index of the face: whether it is a triangle, and not the outside or flat at the hull.
    kept: Vec<bool>,
    /// The points joined to each point by an edge.
    joined: Vec<Vec<usize>>,
}

type Edge<'a> = DirectedEdgeHandle<'a, Site, (), (), ()>;
type Face<'a> = FaceHandle<'a, InnerTag, Site, (), (), ()>;

/// Corners of a triangle, and the corner of the neighbour across the edge opposite each of them.
struct Corners {
    corner: [usize; 3],
    across: [Option<usize>; 3],
}

impl Mesh {
    /// Over points of which no two are equal; `None` where they span no triangle.
    pub(super) fn new(points: &[[f64; 2]]) -> Option<Self> {
        let sites = points
            .iter()
            .enumerate()
            .map(|(index, p)| Site { at: Point2::new(p[0], p[1]), index })
            .collect();
        let triangulation = DelaunayTriangulation::<Site>::bulk_load_stable(sites).ok()?;
        let mut mesh = Self {
            kept: vec![true; triangulation.num_all_faces()],
            joined: vec![Vec::new(); points.len()],
            points: points.to_vec(),
            triangulation,
        };
        mesh.kept[mesh.triangulation.outer_face().index()] = false;
        mesh.peel();
        for edge in mesh.triangulation.undirected_edges() {
            let edge = edge.as_directed();
            if mesh.face_of(edge).or_else(|| mesh.face_of(edge.rev())).is_some() {
                let [a, b] = edge.vertices().map(|v| v.data().index);
                mesh.joined[a].push(b);
                mesh.joined[b].push(a);
            }
        }
        mesh.kept.contains(&true).then_some(mesh)
    }

    /// Takes flat triangles off the hull until none is left there.
    fn peel(&mut self) {
        loop {
            let at_hull = |face: &Face<'_>| {
                face.adjacent_edges().iter().any(|e| self.face_of(e.rev()).is_none())
            };
            let flat: Vec<usize> = self
                .triangulation
                .inner_faces()
                .filter(|face| self.kept[face.index()] && at_hull(face) && is_flat(face))
                .map(|face| face.index())
                .collect();
            if flat.is_empty() {
                return;
            }
            for face in flat {
                self.kept[face] = false;
            }
        }
    }

    /// The triangle to the left of an edge, if it is one.
    fn face_of<'a>(&self, edge: Edge<'a>) -> Option<Face<'a>> {
        edge.face().as_inner().filter(|face| self.kept[face.index()])
    }

    /// The triangle that holds `q`, or `None` outside the hull.
    fn triangle_at(&self, q: [f64; 2]) -> Option<Corners> {
        let t = &self.triangulation;
        let face = match t.locate(Point2::new(q[0], q[1])) {
            PositionInTriangulation::OnFace(face) => {
                Some(t.face(face)).filter(|face| self.kept[face.index()])
            }
            PositionInTriangulation::OnEdge(edge) => {
                let edge = t.directed_edge(edge);
                self.face_of(edge).or_else(|| self.face_of(edge.rev()))
            }
            PositionInTriangulation::OnVertex(vertex) => {
                t.vertex(vertex).out_edges().find_map(|edge| self.face_of(edge))
            }
            PositionInTriangulation::OutsideOfConvexHull(_)
            | PositionInTriangulation::NoTriangulation => None,
        }?;
        let edges = face.adjacent_edges();
        // Edge k goes from corner k to corner k + 1: opposite it is corner k + 2.
        let corner = [0, 1, 2].map(|k| edges[k].from().data().index);
        let across = [0, 1, 2].map(|k| {
            let outside = edges[(k + 1) % 3].rev();
            self.face_of(outside)?;
            outside.opposite_vertex().map(|v| v.data().index)
        });
        Some(Corners { corner, across })
    }

    /// The gradient at each point of the surface through `values` with least curvature along edges.
    ///
    /// Along an edge `e` of length `L` from i to j the surface is the cubic with end slopes
    /// `g_i . e` and `g_j . e`; its squared curvature integrates to a quadratic in them over `L^3`.
    /// Setting its derivative to zero gives, for each i, a 2 by 2 system in `g_i`.
    fn gradients(&self, values: &[f64]) -> Vec<[f64; 2]> {
        let mut gradients = vec![[0.0; 2]; values.len()];
        for _ in 0..MOST_SWEEPS {
            let mut worst = 0.0_f64;
            for (i, joined) in self.joined.iter().enumerate() {
                let (mut q, mut s) = ([0.0; 3], [0.0; 2]);
                for &j in joined {
                    let [ex, ey] = self.edge(i, j);
                    let weight = (ex * ex + ey * ey).powf(-1.5);
                    let far = gradients[j][0] * ex + gradients[j][1] * ey;
                    let right = weight * (3.0 * (values[j] - values[i]) - far);
                    q[0] += 2.0 * weight * ex * ex;
                    q[1] += 2.0 * weight * ex * ey;
                    q[2] += 2.0 * weight * ey * ey;
                    s[0] += right * ex;
                    s[1] += right * ey;
                }
                let det = q[0] * q[2] - q[1] * q[1];
                if det <= 0.0 {
                    continue;
                }
                let new = [(q[2] * s[0] - q[1] * s[1]) / det, (q[0] * s[1] - q[1] * s[0]) / det];
                let old = gradients[i];
                let change = (new[0] - old[0]).abs().max((new[1] - old[1]).abs());
                worst = worst.max(change / new[0].abs().max(new[1].abs()).max(1.0));
                gradients[i] = new;
            }
            if worst < TOLERANCE {
                break;
            }
        }
        gradients
    }

    fn edge(&self, i: usize, j: usize) -> [f64; 2] {
        [self.points[j][0] - self.points[i][0], self.points[j][1] - self.points[i][1]]
    }

    /// `q` as a weighted mean of three points.
    fn barycentric(&self, corner: [usize; 3], q: [f64; 2]) -> [f64; 3] {
        let (u, v) = (self.edge(corner[0], corner[1]), self.edge(corner[0], corner[2]));
        let [ox, oy] = self.points[corner[0]];
        let p = [q[0] - ox, q[1] - oy];
        let area = u[0] * v[1] - u[1] * v[0];
        let b = (p[0] * v[1] - p[1] * v[0]) / area;
        let c = (u[0] * p[1] - u[1] * p[0]) / area;
        [1.0 - b - c, b, c]
    }
}

fn is_flat(face: &Face<'_>) -> bool {
    let longest = face.adjacent_edges().map(|e| e.length_2()).into_iter().fold(0.0, f64::max);
    // Twice the area is the longest side times the height on it.
    2.0 * face.area() < FLAT * longest
}

/// The surface through one set of values.
pub(super) struct Surface<'a> {
    mesh: &'a Mesh,
    values: &'a [f64],
    gradients: Vec<[f64; 2]>,
}

impl<'a> Surface<'a> {
    /// Through `values`, one a point of the mesh.
    pub(super) fn new(mesh: &'a Mesh, values: &'a [f64]) -> Self {
        Self { mesh, values, gradients: mesh.gradients(values) }
    }

    /// The value at `q`, or `None` outside the hull of the points.
    pub(super) fn at(&self, q: [f64; 2]) -> Option<f64> {
        let Corners { corner, across } = self.mesh.triangle_at(q)?;
        let f = corner.map(|c| self.values[c]);
        // edge[i][j]: the ordinate a third of the way from corner i to corner j.
        let mut edge = [[0.0; 3]; 3];
        for i in 0..3 {
            for j in 0..3 {
                let [gx, gy] = self.gradients[corner[i]];
                let [ex, ey] = self.mesh.edge(corner[i], corner[j]);
                edge[i][j] = f[i] + (gx * ex + gy * ey) / 3.0;
            }
        }
        let toward: [f64; 3] = [0, 1, 2].map(|i| (edge[i][0] + edge[i][1] + edge[i][2]) / 3.0);
        // middle[k]: the ordinate inside the edge opposite corner k.
        let middle: [f64; 3] = [0, 1, 2].map(|k| {
            let (i, j) = ((k + 1) % 3, (k + 2) % 3);
            let [di, dj, d0] = match across[k] {
                None => [0.5, 0.5, -1.0],
                Some(other) => {
                    let w = self.mesh.barycentric(corner, self.mesh.points[other]);
                    [(1.0 + w[i] - w[k]) / 3.0, (1.0 + w[j] - w[k]) / 3.0, w[k] - 1.0]
                }
            };
            let at_i = di * f[i] + dj * edge[i][j] + d0 * toward[i];
            let at_j = di * edge[j][i] + dj * f[j] + d0 * toward[j];
            ((at_i + at_j) / 2.0 - di * edge[i][j] - dj * edge[j][i]) / d0
        });
        let spoke: [f64; 3] =
            [0, 1, 2].map(|i| (toward[i] + middle[(i + 1) % 3] + middle[(i + 2) % 3]) / 3.0);
        let centre = (spoke[0] + spoke[1] + spoke[2]) / 3.0;

        let b = self.mesh.barycentric(corner, q);
        let k = (0..3).fold(0, |least, i| if b[i] < b[least] { i } else { least });
        let (i, j) = ((k + 1) % 3, (k + 2) % 3);
        let (u, v, w) = (b[i] - b[k], b[j] - b[k], 3.0 * b[k]);
        Some(
            u * u * u * f[i]
                + v * v * v * f[j]
                + w * w * w * centre
                + 3.0 * u * v * (u * edge[i][j] + v * edge[j][i])
                + 3.0 * w * (u * u * toward[i] + v * v * toward[j])
                + 3.0 * w * w * (u * spoke[i] + v * spoke[j])
                + 6.0 * u * v * w * middle[k],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points() -> Vec<[f64; 2]> {
        vec![[0.0, 0.0], [1.0, 0.1], [0.2, 1.0], [1.1, 1.2], [0.5, 0.45], [0.8, 0.7], [0.1, 0.5]]
    }

    #[test]
    fn a_plane_is_reproduced_and_the_outside_is_not_answered() {
        let points = points();
        let values: Vec<f64> = points.iter().map(|p| 3.0 + 2.0 * p[0] - 5.0 * p[1]).collect();
        let mesh = Mesh::new(&points).unwrap();
        let s = Surface::new(&mesh, &values);
        for q in [[0.3, 0.3], [0.5, 0.45], [0.9, 0.9], [0.5, 0.05]] {
            let want = 3.0 + 2.0 * q[0] - 5.0 * q[1];
            assert!((s.at(q).unwrap() - want).abs() < 1e-4, "{q:?}");
        }
        assert!(s.at([2.0, 2.0]).is_none());
        assert!(s.at([-0.1, 0.0]).is_none());
    }

    #[test]
    fn the_surface_is_smooth_across_edges() {
        let points = points();
        let values: Vec<f64> = points.iter().map(|p| (4.0 * p[0]).sin() * p[1]).collect();
        let mesh = Mesh::new(&points).unwrap();
        let s = Surface::new(&mesh, &values);
        // The second difference of a C1 curve shrinks with the step; of a kinked one it does not.
        let at = |t: f64| s.at([0.2 + 0.6 * t, 0.3 + 0.35 * t]).unwrap();
        let h = 1e-4;
        for i in 1..999 {
            let t = f64::from(i) / 1000.0;
            let slope_jump = (at(t + h) - 2.0 * at(t) + at(t - h)) / h;
            assert!(slope_jump.abs() < 0.02, "{t}: {slope_jump}");
        }
    }

    #[test]
    fn points_on_a_line_span_nothing() {
        assert!(Mesh::new(&[[0.0, 1.0], [0.5, 1.0], [1.0, 1.0]]).is_none());
        assert!(Mesh::new(&[]).is_none());
    }
}
