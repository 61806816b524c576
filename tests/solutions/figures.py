"An independent solution of the exercise about skeletons: homogeneous 4×4 matrices and the matrix exponential."

import torch


def forward_kinematics(bones, pose, parents):
    x, y, z = pose.unbind(-1)
    o = torch.zeros_like(x)
    step = torch.eye(4).repeat(*bones.shape[:2], 1, 1)
    step[..., :3, :3] = torch.linalg.matrix_exp(torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3)))
    step[..., :3, 3] = bones
    whole = []
    for j, parent in enumerate(parents):
        whole.append(step[:, j] if parent < 0 else whole[parent] @ step[:, j])
    whole = torch.stack(whole, 1)
    return whole[..., :3, 3], whole[..., :3, :3]


SOLUTIONS = {'figures.kinematics': forward_kinematics}
